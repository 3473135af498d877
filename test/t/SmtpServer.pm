# Copyright (c) 2026, jobsched contributors

=pod

=head1 NAME

SmtpServer - a mail relay for tests, well-behaved and hostile

=head1 SYNOPSIS

  use SmtpServer;

  my $relay = start_relay($node, tls => 'starttls', auth => 'user:password');
  ... have a mail sent to "$relay->{url}" ...
  my @mails = mails($relay);             # hashes: from, to, data, tls, auth
  my @said = said($relay);               # lines, as they came, of all connections

It refuses each line that does not end in CR LF.  tls is none, starttls or smtps;
cert is a kind of HttpServers::make_certificates(); greeting and
starttls are answers instead of the usual ones; silent is a command that has no
answer; echo is a text that a refusal to log in shows, after what was said; one that
stays does not answer to QUIT.

=head2 What recipients do

  refused@...            550 for it
  later-N@...            450, N times, then as usual
  late-N@...             451 for the message itself, N times
  rejected@...           554 for the message itself
  silent@...             no answer to the message, until release() has been called
  closes@...             the connection is closed when the message has come
  babbles@...            an answer that nobody has asked for, with the one to it
  nonsense@...           no SMTP as answer

=cut

package SmtpServer;

use strict;
use warnings;

use Exporter 'import';
use File::Basename qw(dirname);
use HttpServers;
use IO::Socket::INET;
use IO::Socket::SSL;
use JSON::PP;
use MIME::Base64;
use Time::HiRes qw(sleep);

our @EXPORT = qw(start_relay mails wait_mails said release);

my $json = JSON::PP->new->canonical->latin1;

sub start_relay
{
	my ($node, %opt) = @_;
	my $dir = HttpServers::server_directory($node, 'smtp');
	my $listener = HttpServers::listen_at($opt{port} || 0, 64);
	my $port = $listener->sockport;
	my $certificates = $opt{certificates} || $dir;

	HttpServers::make_certificates($dir) if !$opt{certificates};
	HttpServers::write_file("$dir/$_", '') for qw(mails said);
	HttpServers::write_file("$dir/options", $json->encode({
		tls => 'none', cert => 'good', %opt, dir => $dir, certificates => $certificates }));
	my $pid = HttpServers::start_program("$dir/log", [$listener],
		$^X, '-I', dirname(__FILE__), '-MSmtpServer', '-e', 'SmtpServer::serve(@ARGV)', fileno $listener, "$dir/options");
	my $scheme = ($opt{tls} || '') eq 'smtps' ? 'smtps' : 'smtp';
	return {
		name => 'smtp', dir => $dir, pid => $pid, port => $port, certificates => $certificates,
		ca => "$certificates/ca.crt", url => "$scheme://localhost:$port" };
}

sub mails
{
	my ($relay) = @_;
	return map { $json->decode($_) } split /\n/, HttpServers::read_text("$relay->{dir}/mails");
}

# At least $n of them; dies if they do not come.
sub wait_mails
{
	my ($relay, $n) = @_;
	return HttpServers::wait_for_n($n, 'mails', sub { mails($relay) });
}

sub said
{
	my ($relay) = @_;
	return split /\n/, HttpServers::read_text("$relay->{dir}/said");
}

sub release
{
	my ($relay) = @_;
	return HttpServers::write_file("$relay->{dir}/released", '');
}

# ------------------------------------------------------------------------
# In the process that serves
# ------------------------------------------------------------------------

my %opt;

sub serve
{
	my ($fd, $options) = @_;
	my $listener = IO::Socket::INET->new_from_fd($fd, 'r+');

	%opt = %{ $json->decode(HttpServers::read_text($options)) };
	$SIG{CHLD} = 'IGNORE';
	$SIG{PIPE} = 'IGNORE';
	while (1)
	{
		my $socket = $listener->accept or next;
		my $pid = fork() // die "fork: $!";

		next if $pid;
		close $listener;
		# who is forgotten does not outlive the test for long
		alarm 300;
		converse($socket);
		exit 0;
	}
	return;
}

sub add_line
{
	my ($name, $line) = @_;

	open(my $file, '>>:raw', "$opt{dir}/$name") or die "$name: $!";
	syswrite $file, "$line\n";
	return close $file;
}

# How often before.
sub times_of
{
	my ($what) = @_;
	my $name = "$opt{dir}/times_" . $what =~ s/\W/_/gr;
	my $before = -s $name // 0;

	open(my $file, '>>', $name) or die "$name: $!";
	syswrite $file, 'x';
	close $file;
	return $before || 0;
}

sub secure
{
	my ($socket) = @_;
	return IO::Socket::SSL->start_SSL($socket,
		SSL_server => 1, SSL_cert_file => "$opt{certificates}/$opt{cert}.crt", SSL_key_file => "$opt{certificates}/$opt{cert}.key");
}

sub say_to
{
	my ($socket, @lines) = @_;
	return $socket->print(map { "$_\r\n" } @lines);
}

# Reads a line; undef: there is none.
sub line_of
{
	my ($socket) = @_;
	my $line = $socket->getline // return;

	add_line('said', $line =~ s/\r?\n\z//r . ($line =~ /\r\n\z/ ? '' : ' (bare LF)'));
	return $line;
}

sub read_message
{
	my ($socket) = @_;
	my $data = '';

	while (defined(my $line = $socket->getline))
	{
		return $data if $line eq ".\r\n";
		$line =~ s/^\.//;
		$data .= $line;
	}
	return;
}

sub auth_answer
{
	my ($socket, $how) = @_;
	my ($user, $password) = split /:/, $opt{auth}, 2;
	my ($given) = $how =~ /^PLAIN (\S+)$/ ? decode_base64($1) : '';

	if ($how eq 'LOGIN' || $how =~ /^LOGIN (\S+)$/)
	{
		my $name = $1;
		if (!defined $name)
		{
			say_to($socket, '334 ' . encode_base64('Username:', ''));
			$name = line_of($socket) =~ s/\s+\z//r;
		}
		say_to($socket, '334 ' . encode_base64('Password:', ''));
		$given = "\0" . decode_base64($name) . "\0" . decode_base64(line_of($socket));
	}
	return $given eq "\0$user\0$password" ? '235 2.7.0 welcome' : '535 5.7.8 no' . ($opt{echo} ? ": $how $opt{echo}" : '');
}

# What is said to a message that has come; undef: nothing.
sub message_answer
{
	my ($socket, $mail) = @_;
	my ($to) = $mail->{to} =~ /^([^@]*)/;

	return '550 5.6.11 bare LF' if $mail->{data} =~ /(?<!\r)\n|\r(?!\n)/;
	return "451 4.3.0 wait\xe9" if $to =~ /^late-(\d+)$/ && times_of($to) < $1;
	return '554 5.7.1 no such texts' if $to eq 'rejected';
	return '550 5.3.4 longer than a line may be' if grep { length > 998 } split /\r\n/, $mail->{data};
	add_line('mails', $json->encode($mail));
	if ($to eq 'silent')
	{
		sleep 0.02 until -e "$opt{dir}/released";
	}
	return if $to eq 'closes';
	return 'HTTP/1.1 200 OK' if $to eq 'nonsense';
	return ('250-2.0.0', '250 taken');
}

sub converse
{
	my ($socket) = @_;
	my %mail = (tls => 0, auth => 0);

	if ($opt{tls} eq 'smtps')
	{
		secure($socket) || return;
		$mail{tls} = 1;
	}
	if (($opt{silent} || '') eq 'greeting')
	{
		$socket->getline;
		return;
	}
	say_to($socket, $opt{greeting} || '220 relay.test ESMTP');
	while (defined(my $line = line_of($socket)))
	{
		my ($command, $rest) = $line =~ /^(\w+) ?(.*?)\r\n\z/;

		if (!defined $command)
		{
			say_to($socket, '500 5.5.2 bare LF');
			next;
		}
		next if ($opt{silent} || '') eq $command;
		if ($command eq 'EHLO')
		{
			say_to($socket, '250-relay.test', ($opt{tls} eq 'starttls' && !$mail{tls} ? '250-STARTTLS' : ()),
				($opt{auth} ? '250-AUTH ' . ($opt{mechanisms} || 'GSSAPI NTLM CRAM-MD5 PLAIN LOGIN') : ()), '250 8BITMIME');
		}
		elsif ($command eq 'STARTTLS')
		{
			say_to($socket, $opt{starttls} || '220 go ahead');
			next if $opt{starttls};
			secure($socket) || return;
			$mail{tls} = 1;
		}
		elsif ($command eq 'AUTH')
		{
			my $answer = auth_answer($socket, $rest);
			$mail{auth} = $answer =~ /^235/ ? 1 : 0;
			say_to($socket, $answer);
		}
		elsif ($command eq 'MAIL')
		{
			$mail{from} = $rest =~ /^FROM:<(.*)>$/ ? $1 : "? $rest";
			say_to($socket, $opt{auth} && !$mail{auth} ? '530 5.7.0 log in' : '250 2.1.0 fine');
		}
		elsif ($command eq 'RCPT')
		{
			my ($to) = $mail{to} = $rest =~ /^TO:<(.*)>$/ ? $1 : "? $rest";

			say_to($socket,
				$to =~ /^babbles@/ ? ('250 2.1.5 fine', '354 come on')
				: $to =~ /^refused@/ ? ('550-5.1.1 no such', "550 5.1.1 per\xc3\xbcson")
				: $to =~ /^(later-(\d+))@/ && times_of($1) < $2 ? '450 4.2.0 greylisted'
				: '250 2.1.5 fine');
		}
		elsif ($command eq 'DATA')
		{
			say_to($socket, '354 come on');
			$mail{data} = read_message($socket) // return;
			my @answer = message_answer($socket, \%mail);
			@answer || return;
			say_to($socket, @answer);
		}
		elsif ($command eq 'QUIT')
		{
			# one that does not answer keeps nobody waiting
			sleep 300 if $opt{stays};
			say_to($socket, '221 2.0.0 bye');
			return;
		}
		else
		{
			say_to($socket, '502 5.5.1 what?');
		}
	}
	return;
}

1;
