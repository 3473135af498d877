# Copyright (c) 2026, jobsched contributors

# receiver.pl PORT_FILE REQUESTS_FILE: an HTTP server on 127.0.0.1 that answers
# every request with 200 and writes down what it was sent.  Perl alone.

use strict;
use warnings;

use IO::Handle;
use IO::Socket::INET;

my ($port_file, $requests_file) = @ARGV;
my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 10) or die "cannot listen: $!";

sub write_file
{
	my ($mode, $file, $text) = @_;
	open my $out, $mode, $file or die "cannot write $file: $!";
	print $out $text;
	return close $out;
}

# A request's text; undef at the end of the connection.
sub read_request
{
	my ($client) = @_;
	my $head = '';
	my $body = '';

	while ($head !~ /\r\n\r\n\z/)
	{
		my $line = <$client>;
		return unless defined $line;
		$head .= $line;
	}
	read $client, $body, $1 if $head =~ /^content-length:\s*(\d+)/mi;
	$head =~ s/\r//g;
	return "$head$body\n\n";
}

write_file('>', "$port_file.new", $server->sockport . "\n");
rename "$port_file.new", $port_file or die "cannot rename $port_file.new: $!";
while (my $client = $server->accept)
{
	while (defined(my $request = read_request($client)))
	{
		write_file('>>', $requests_file, $request);
		print $client "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"received\":true}";
		$client->flush;
	}
}
