# Copyright (c) 2026, jobsched contributors

=pod

=head1 NAME

HttpServers - servers for tests of HTTP requests, well-behaved and hostile

=head1 SYNOPSIS

  use HttpServers;

  my $sink = start_sink($node);          # or a directory
  ... has "$sink->{url}/status/503" requested ...
  my @requests = wait_requests($sink, 1);
  is($requests[0]->{headers}->{'user-agent'}, 'jobsched/1.0');

  open_gate($sink, 'a');                 # answers what was sent to /gate/a

Each server is a process of its own on an ephemeral port of 127.0.0.1, and ends
with the test.  Only modules of Perl's core are needed.

A request, as requests() returns it: method, path (without its query), query (a
hash), headers (a hash, names in lower case, repeats joined by ", "),
header_list (pairs, as they came), body (bytes), connection (its number, from
1), time.

=head2 Paths of start_sink()

  /                      200 and "ok", as any other path
  /status/N              that status; ?retry-after=... adds the header
  /delay/S               200 after S seconds
  /gate/NAME             200 when open_gate(..., NAME) has been called
  /echo                  200 and the request as JSON
  /headers               200 with headers that repeat
  /body/N                200 and N bytes
  /text/TEXT             200 and this text
  /redirect/N?to=URL     that status and Location; /redirect is 302
  /flaky/N               503 for the first N requests with the same
                         Idempotency-Key, or else path; then 200
  /gone                  410
  /invalid-utf8          200 and bytes that are no UTF-8
  /nul                   200 and text with a zero byte

A test can have answers of its own: start_sink($node, answer => TEXT), the text
of a Perl function that is called with each request, as above, and returns
status, body and headers, or nothing if it is to be answered as usual.  Before
these it may return a step such as [gate => 'name'].

=head2 Paths of start_fault_server()

  /close                 closes without an answer
  /never                 says nothing
  /reset                 resets the connection
  /reset-mid-body        does so after half of the body
  /short-body            closes after half of the body
  /bad-chunk             a chunk's length is no number
  /not-http              another protocol's greeting
  /slow-loris            an answer of 10 kB, a byte each 100 ms
  /slow-head             its head, as slow, without end
  /endless-body          chunks without end
  /endless-headers       header lines without end
  /huge-header           a header of 10 MB
  /many-headers          100,000 headers
  /gzip-bomb             1 MB of gzip that says 1 GB
  /continue-forever      100 Continue, without end
  /split-crlf            each byte of the head is sent alone
  /early-answer          answers before it reads the body, then reads that
  /early-close           answers, and closes without reading the body
  /control-bytes         a header's value with control characters
  /two-lengths           two different Content-Length
  /no-reason             a status line without words, and lines that end in LF
  /upgrade               101 Switching Protocols, though nobody asked
  /raw/HEX               these bytes, and the connection is kept

=cut

package HttpServers;

use strict;
use warnings;

use Compress::Raw::Zlib;
use Errno qw(EAGAIN EINTR EWOULDBLOCK);
use Exporter 'import';
use Fcntl qw(F_SETFD);
use File::Basename qw(dirname);
use IO::Handle;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use POSIX qw(WNOHANG);
use Socket qw(SOL_SOCKET SO_LINGER TCP_NODELAY IPPROTO_TCP);
use Time::HiRes qw(sleep time);

our @EXPORT = qw(
  start_sink start_fault_server start_tls_nginx start_deaf_server stop_http_server
  requests wait_requests wait_messages forget_requests aborted wait_aborted open_gate close_gate_of
  tls_requests wait_tls_requests
  make_resolver set_host asked_for with_resolver
);

# How long anything is waited for.
my $patience = do { no warnings 'once'; $PostgreSQL::Test::Utils::timeout_default } || 180;
my $json = JSON::PP->new->ascii->canonical;
my $serial = 0;
my %children;    # pid => whose child it is

# ------------------------------------------------------------------------
# Servers, as the test sees them
# ------------------------------------------------------------------------

# port => N takes that one instead of a free one: where a server was before.
sub start_sink
{
	my ($where, %opt) = @_;
	return start_server($where, 'sink', %opt);
}

sub start_fault_server
{
	my ($where, %opt) = @_;
	return start_server($where, 'fault', %opt);
}

# Connections to its port are neither accepted nor refused.
sub start_deaf_server
{
	my ($where) = @_;
	my $listener = listen_at(0, 1);
	my $port = $listener->sockport;

	# The queue takes a few, and then no more.
	my @fillers = map {
		IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Proto => 'tcp', Blocking => 0)
	} 1 .. 8;
	return {
		name => 'deaf', port => $port, url => "http://127.0.0.1:$port",
		sockets => [ $listener, @fillers ] };
}

# Stops any of the servers of this file.
sub stop_http_server
{
	my ($server) = @_;

	delete @{$server}{qw(sockets control)};
	return unless $server->{pid} && delete $children{ $server->{pid} };
	kill 'TERM', $server->{pid};
	waitpid($server->{pid}, 0);
	return;
}

# What has been asked so far; with a pattern, of such paths only.
sub requests
{
	my ($server, $pattern) = @_;

	read_record($server);
	return grep { !$pattern || $_->{path} =~ $pattern } @{ $server->{requests} };
}

# At least $n of them; dies if they do not come.
sub wait_requests
{
	my ($server, $n, $pattern) = @_;
	return wait_for_n($n, "requests of the $server->{name}", sub { requests($server, $pattern) });
}

# Messages of alerts, with different ids, at least $n: what was sent again, after a refusal
# or a crash, counts once.  $of is what is in their bodies.
sub wait_messages
{
	my ($server, $n, $pattern, $of) = @_;
	return wait_for_n($n, "messages of the $server->{name}", sub {
		my %seen;
		return grep { (!$of || $_->{body} =~ $of) && !$seen{ $_->{headers}->{'idempotency-key'} }++ } requests($server, $pattern);
	});
}

# Starts counting anew.
sub forget_requests
{
	my ($server) = @_;

	read_record($server);
	$server->{requests} = [];
	$server->{aborted} = [];
	return;
}

# Requests whose client went away before it had the whole answer.
sub aborted
{
	my ($server, $pattern) = @_;

	read_record($server);
	return grep { !$pattern || $_->{path} =~ $pattern } @{ $server->{aborted} };
}

sub wait_aborted
{
	my ($server, $n, $pattern) = @_;
	return wait_for_n($n, "clients of the $server->{name} that went away", sub { aborted($server, $pattern) });
}

# Lets requests to /gate/NAME have their answer, those to come too.
sub open_gate
{
	my ($server, $name) = @_;
	return syswrite($server->{control}, "open $name\n");
}

# Those to come wait again.
sub close_gate_of
{
	my ($server, $name) = @_;
	return syswrite($server->{control}, "close $name\n");
}

sub wait_for_n
{
	my ($n, $what, $get) = @_;
	my $until = time() + $patience;
	my @got;

	do
	{
		@got = $get->();
		return @got if @got >= $n;
		sleep(0.01);
	} while (time() < $until);
	die 'waited in vain for ' . $n . " $what, there are " . scalar(@got);
}

sub read_record
{
	my ($server) = @_;

	open(my $file, '<:raw', $server->{record}) or die "$server->{record}: $!";
	seek($file, $server->{read}, 0);
	while (defined(my $line = <$file>))
	{
		last if $line !~ /\n\z/;
		my $event = $json->decode($line);
		my $size = delete $event->{body_size};
		last if defined $size && read($file, $event->{body}, $size + 1) <= $size;
		chop $event->{body} if defined $size;
		push @{ $server->{ delete($event->{aborted}) ? 'aborted' : 'requests' } }, $event;
		$server->{read} = tell $file;
	}
	close $file;
	return;
}

# ------------------------------------------------------------------------
# Processes
# ------------------------------------------------------------------------

# A directory for a server's files: below a node's, or a given one.
sub server_directory
{
	my ($where, $name) = @_;
	my $base = ref $where ? $where->basedir : $where;
	my $dir = "$base/http_$name" . ++$serial;

	mkdir $dir or die "$dir: $!";
	return $dir;
}

sub listen_at
{
	my ($port, $backlog) = @_;
	return IO::Socket::INET->new(
		LocalAddr => '127.0.0.1', LocalPort => $port, Proto => 'tcp',
		Listen => $backlog, ReuseAddr => 1) || die "cannot listen at port $port: $!";
}

sub start_server
{
	my ($where, $name, %opt) = @_;
	my $dir = server_directory($where, $name);
	my $listener = listen_at($opt{port} || 0, 1024);
	my $server = {
		name => $name, dir => $dir, record => "$dir/requests", read => 0,
		requests => [], aborted => [], port => $listener->sockport };

	$server->{url} = "http://127.0.0.1:$server->{port}";
	write_file($server->{record}, '');
	write_file("$server->{record}.answer", $opt{answer}) if $opt{answer};
	pipe(my $commands, my $control) or die "pipe: $!";
	$server->{pid} = start_program(
		"$dir/log", [ $listener, $commands ],
		$^X, '-I', dirname(__FILE__), '-MHttpServers', '-e', 'HttpServers::serve(@ARGV)',
		$name, fileno $listener, fileno $commands, $server->{record});
	$server->{control} = $control;
	return $server;
}

# A child that has nothing of ours open but these handles; otherwise it would
# keep open what others wait for the end of.
sub start_program
{
	my ($log, $handles, @command) = @_;

	# The child may be stopped at any time: it must not die as the test would,
	# and stop the test's servers.
	local @SIG{qw(TERM INT HUP ALRM PIPE)} = ('DEFAULT') x 5;
	my $pid = fork() // die "fork: $!";

	if ($pid)
	{
		$children{$pid} = $$;
		return $pid;
	}
	my $out = POSIX::open($log, POSIX::O_WRONLY | POSIX::O_CREAT | POSIX::O_APPEND);
	POSIX::dup2($out, $_) for 1, 2;
	my %kept = map { $_ => 1 } 1, 2, map { fileno $_ } @{$handles};
	opendir(my $fds, '/proc/self/fd') or POSIX::_exit(1);
	my @open = grep { /^\d+$/ && !$kept{$_} } readdir $fds;
	POSIX::close($_) for @open;
	POSIX::open('/dev/null', POSIX::O_RDONLY);    # as 0
	fcntl($_, F_SETFD, 0) for @{$handles};
	{ no warnings 'exec'; exec { $command[0] } @command; }

	# no END blocks, which would stop the test's servers
	POSIX::_exit(127);
}

END
{
	my $status = $?;
	foreach my $pid (grep { $children{$_} == $$ } keys %children)
	{
		kill 'TERM', $pid;
		waitpid($pid, 0);
	}
	$? = $status;
}

# ------------------------------------------------------------------------
# The loop of a server
#
# An answer is a list of steps: a text to send; [pause => seconds];
# [gate => name]; ['finish'], the answer's end, after which the connection's
# next request has its turn; ['answered'], after which nothing follows;
# ['close']; ['reset']; ['hang'], for good; or a function that returns further steps, and is called again until it has none.
# ------------------------------------------------------------------------

my ($readers, $writers);    # of the process, for it has one loop
my (%connections, %open_gates, $record_file, $answer_of, $own_answer);

sub serve
{
	my ($kind, $listener_fd, $commands_fd, $record) = @_;
	my $listener = IO::Socket::INET->new_from_fd($listener_fd, 'r+');
	my $commands = IO::Handle->new_from_fd($commands_fd, 'r');
	my $accepted = 0;

	$answer_of = { sink => \&sink_answer, fault => \&fault_answer }->{$kind};
	open($record_file, '>>:raw', $record) or die "$record: $!";
	$own_answer = do "$record.answer" // die "$record.answer: $@ $!" if -e "$record.answer";
	$SIG{PIPE} = 'IGNORE';
	$listener->blocking(0);
	$readers = IO::Select->new($listener, $commands);
	$writers = IO::Select->new();
	while (1)
	{
		my ($readable, $writable) = IO::Select::select($readers, $writers, undef, time_to_wake());

		foreach my $handle (@{ $readable || [] })
		{
			if ($handle == $commands)
			{
				obey($commands);
			}
			elsif ($handle == $listener)
			{
				while (my $socket = $listener->accept)
				{
					add_connection($socket, ++$accepted);
				}
			}
			elsif (my $connection = $connections{$handle})
			{
				receive($connection);
			}
		}
		foreach my $handle (@{ $writable || [] })
		{
			advance($connections{$handle}) if $connections{$handle};
		}
		my $now = time();
		foreach my $connection (grep { defined $_->{wake} && $_->{wake} <= $now } values %connections)
		{
			delete $connection->{wake};
			advance($connection);
		}
	}
}

# Seconds until the first pause is over; undef if there is none.
sub time_to_wake
{
	my $first;
	foreach my $connection (values %connections)
	{
		my $wake = $connection->{wake} // next;
		$first = $wake if !defined $first || $wake < $first;
	}
	return unless defined $first;
	my $left = $first - time();
	return $left > 0 ? $left : 0;
}

# The test has ended if it cannot command any more.
sub obey
{
	my ($commands) = @_;

	sysread($commands, my $text, 4096) or POSIX::_exit(0);
	while ($text =~ /^(open|close) (.*)$/mg)
	{
		my ($verb, $gate) = ($1, $2);
		if ($verb eq 'close')
		{
			delete $open_gates{$gate};
			next;
		}
		$open_gates{$gate} = 1;
		foreach my $connection (grep { defined $_->{gate} && $_->{gate} eq $gate } values %connections)
		{
			delete $connection->{gate};
			advance($connection);
		}
	}
	return;
}

sub add_connection
{
	my ($socket, $number) = @_;

	$socket->blocking(0);
	setsockopt($socket, IPPROTO_TCP, TCP_NODELAY, 1);
	$connections{$socket} = { socket => $socket, number => $number, in => '', out => '', steps => [] };
	$readers->add($socket);
	return;
}

sub drop
{
	my ($connection) = @_;
	my $socket = $connection->{socket};

	return unless delete $connections{$socket};
	$readers->remove($socket);
	$writers->remove($socket);
	close $socket;
	return;
}

sub receive
{
	my ($connection) = @_;
	my $n = sysread($connection->{socket}, $connection->{in}, 1 << 18, length $connection->{in});

	if ($n)
	{
		# What comes during an answer is the next request, or the rest of a body
		# that nobody is interested in.
		$connection->{in} = '' if $connection->{deaf};
		take_request($connection) unless $connection->{request};
	}
	elsif (defined $n || ($! != EAGAIN && $! != EWOULDBLOCK && $! != EINTR))
	{
		note_abort($connection);
		drop($connection);
	}
	return;
}

# The next request, if it is there.
sub take_request
{
	my ($connection) = @_;
	my $request = $connection->{head} //= take_head($connection) // return;
	my @early = early_answer($request->{path});

	if (!@early)
	{
		return unless take_body($connection, $request);
		record($request);
	}
	else
	{
		record($request);
		$connection->{deaf} = 1;
	}
	delete @{$connection}{qw(head continued)};
	$connection->{request} = $request;
	$connection->{steps} = [ @early ? @early : $answer_of->($request) ];
	return advance($connection);
}

sub take_head
{
	my ($connection) = @_;
	my $end = index($connection->{in}, "\r\n\r\n");

	return if $end < 0;
	my ($line, @lines) = split /\r\n/, substr($connection->{in}, 0, $end);
	substr($connection->{in}, 0, $end + 4, '');
	my ($method, $target, $version) = split / /, $line;
	my ($path, $query) = split /\?/, $target // '/', 2;
	my @headers = map { [ split /:[ \t]*/, $_, 2 ] } @lines;
	my %headers;
	foreach my $header (@headers)
	{
		my ($name, $value) = (lc $header->[0], $header->[1] // '');
		$headers{$name} = defined $headers{$name} ? "$headers{$name}, $value" : $value;
	}
	return {
		method => $method, path => unescape($path), target => $target, version => $version,
		query => { map { unescape($_) } map { (split /=/, $_, 2)[ 0, 1 ] } split /&/, $query // '' },
		headers => \%headers, header_list => \@headers,
		connection => $connection->{number}, time => time() };
}

sub unescape
{
	my ($text) = @_;

	$text //= '';
	$text =~ s/%([0-9a-fA-F]{2})/chr hex $1/ge;
	return $text;
}

# Whether the body is there; it is put into the request.
sub take_body
{
	my ($connection, $request) = @_;
	my $headers = $request->{headers};

	if (lc($headers->{expect} // '') eq '100-continue' && !$connection->{continued}++)
	{
		syswrite($connection->{socket}, "HTTP/1.1 100 Continue\r\n\r\n");
	}
	return take_chunks($connection, $request) if lc($headers->{'transfer-encoding'} // '') eq 'chunked';

	my $length = $headers->{'content-length'} || 0;
	return if length $connection->{in} < $length;
	$request->{body} = substr($connection->{in}, 0, $length, '');
	return 1;
}

sub take_chunks
{
	my ($connection, $request) = @_;
	my ($body, $at) = ('', 0);

	while (substr($connection->{in}, $at) =~ /^([0-9a-fA-F]+)[^\r]*\r\n/)
	{
		my ($head, $size) = (length $&, hex $1);
		return if length $connection->{in} < $at + $head + $size + 2;
		$body .= substr($connection->{in}, $at + $head, $size);
		$at += $head + $size + 2;
		next if $size;
		substr($connection->{in}, 0, $at, '');
		$request->{body} = $body;
		return 1;
	}
	return;
}

# Before the answer, so that who has that can look it up.  A line of JSON, and
# the body as it is.
sub record
{
	my ($request, %more) = @_;
	my $body = $request->{body} // '';

	return syswrite($record_file,
		$json->encode({ %{$request}, %more, body => undef, body_size => length $body }) . "\n$body\n");
}

# The client has gone, perhaps before it had its answer.
sub note_abort
{
	my ($connection) = @_;
	my $request = $connection->{request};

	record($request, aborted => JSON::PP::true) if $request && !$connection->{answered};
	return;
}

# Does what can be done without waiting.
sub advance
{
	my ($connection) = @_;

	while (send_out($connection))
	{
		my $step = shift @{ $connection->{steps} } // return;

		if (!ref $step)
		{
			$connection->{out} .= $step;
		}
		elsif (ref $step eq 'CODE')
		{
			my @more = $step->() or next;
			unshift @{ $connection->{steps} }, @more, $step;

			# others have their turn in between
			$connection->{wake} = 0;
			send_out($connection);
			return;
		}
		else
		{
			return unless do_step($connection, @{$step});
		}
	}
	return;
}

# Whether the next step can follow.
sub do_step
{
	my ($connection, $verb, $value) = @_;

	if ($verb eq 'pause')
	{
		$connection->{wake} = time() + $value;
	}
	elsif ($verb eq 'gate')
	{
		return 1 if $open_gates{$value};
		$connection->{gate} = $value;
	}
	elsif ($verb eq 'finish')
	{
		my $request = delete $connection->{request};
		if (lc($request->{headers}->{connection} // '') eq 'close')
		{
			drop($connection);
		}
		else
		{
			take_request($connection);
		}
	}
	elsif ($verb eq 'answered')
	{
		$connection->{answered} = 1;
	}
	elsif ($verb eq 'close')
	{
		drop($connection);
	}
	elsif ($verb eq 'reset')
	{
		setsockopt($connection->{socket}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
		drop($connection);
	}
	return 0;    # 'hang' too
}

# Whether all has been sent.
sub send_out
{
	my ($connection) = @_;
	my $socket = $connection->{socket};

	while (length $connection->{out})
	{
		my $n = syswrite($socket, $connection->{out}, 1 << 20);
		if ($n)
		{
			substr($connection->{out}, 0, $n, '');
			next;
		}
		next if $! == EINTR;
		if ($! == EAGAIN || $! == EWOULDBLOCK)
		{
			delete $connection->{wake};
			$writers->add($socket);
			return 0;
		}
		note_abort($connection);
		drop($connection);
		return 0;
	}
	$writers->remove($socket) if $writers->exists($socket);
	return exists $connections{$socket};
}

# ------------------------------------------------------------------------
# Answers
# ------------------------------------------------------------------------

# A whole one; headers are pairs.
sub answer
{
	my ($request, $status, $headers, $body) = @_;
	my @headers = @{ $headers || [] };
	my $head = "HTTP/1.1 $status Answer\r\n";

	while (my ($name, $value) = splice @headers, 0, 2)
	{
		$head .= "$name: $value\r\n";
	}
	if ($status == 204 || $status == 304)
	{
		$body = '';
	}
	else
	{
		$head .= 'Content-Length: ' . length($body) . "\r\n";
	}
	return ($head . "\r\n" . ($request->{method} eq 'HEAD' ? '' : $body), ['finish']);
}

sub text_answer
{
	my ($request, $status, $text, @headers) = @_;
	return answer($request, $status, [ 'Content-Type' => 'text/plain', @headers ], $text);
}

my %failed;    # how often /flaky has, by key

sub sink_answer
{
	my ($request) = @_;
	my ($verb, $value) = $request->{path} =~ m{^/([^/]*)/?(.*)$}s;
	my $query = $request->{query};
	my @own = $own_answer ? $own_answer->($request) : ();

	return ((ref $own[0] ? shift @own : ()), text_answer($request, @own)) if @own;

	if ($verb eq 'status')
	{
		my @more = defined $query->{'retry-after'} ? ('Retry-After' => $query->{'retry-after'}) : ();
		return text_answer($request, $value, "status $value", @more);
	}
	return ([ pause => $value ], text_answer($request, 200, 'ok')) if $verb eq 'delay';
	return ([ gate => $value ], text_answer($request, 200, 'ok')) if $verb eq 'gate';
	return answer($request, 200, [ 'Content-Type' => 'application/json' ], echo($request)) if $verb eq 'echo';
	return text_answer($request, 200, 'ok', 'X-Repeat' => 'one', 'X-Other' => 'a, b', 'x-repeat' => 'two', 'X-Empty' => '')
	  if $verb eq 'headers';
	return text_answer($request, 200, substr('0123456789abcdef' x ($value / 16 + 1), 0, $value)) if $verb eq 'body';
	return text_answer($request, 200, $value) if $verb eq 'text';
	return text_answer($request, $value || 302, '', Location => $query->{to}) if $verb eq 'redirect';
	return text_answer($request, 410, 'gone') if $verb eq 'gone';
	return text_answer($request, 200, "caf\xe9 \xff\xfe") if $verb eq 'invalid-utf8';
	return text_answer($request, 200, "a\0b") if $verb eq 'nul';
	if ($verb eq 'flaky')
	{
		my $key = $request->{headers}->{'idempotency-key'} // $request->{path};
		return text_answer($request, 503, 'not yet') if $failed{$key}++ < $value;
	}
	return text_answer($request, 200, 'ok');
}

sub echo
{
	my ($request) = @_;
	my %echo = %{$request};

	utf8::decode($echo{body});
	return $json->encode(\%echo);
}

# What does not wait for the request's body.
sub early_answer
{
	my ($path) = @_;

	return (['close']) if $path eq '/close';
	return (['reset']) if $path eq '/reset';
	return (['hang']) if $path eq '/never';
	return ("HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", ['answered'])
	  if $path eq '/early-answer';
	return ("HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", ['close'])
	  if $path eq '/early-close';
	return;
}

my $half = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789";
my $chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

my %fault = (
	'reset-mid-body' => sub { ($half, [ pause => 0.05 ], ['reset']) },
	'short-body' => sub { ($half, ['close']) },
	'bad-chunk' => sub { ("${chunked}5\r\nhello\r\nzz\r\nworld\r\n0\r\n\r\n", ['hang']) },
	'not-http' => sub { ("220 mail.example.com ESMTP\r\n", ['hang']) },
	'slow-loris' => sub { ("HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", endless('x', 0.1)) },
	'slow-head' => sub { ("HTTP/1.1 200 OK\r\nX-Slow: ", endless('x', 0.1)) },
	'endless-body' => sub { ($chunked, endless("10000\r\n" . 'x' x 65536 . "\r\n")) },
	'endless-headers' => sub { ("HTTP/1.1 200 OK\r\n", endless("X-More: and more\r\n" x 1000)) },
	'huge-header' => sub { ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Huge: " . 'x' x 10_000_000 . "\r\n\r\nok", ['finish']) },
	'many-headers' => sub { ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" . "X-Many: 1\r\n" x 100_000 . "\r\nok", ['finish']) },
	'gzip-bomb' => sub {
		my $bomb = gzip_bomb();
		("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: " . length($bomb) . "\r\n\r\n$bomb", ['finish']);
	},
	'continue-forever' => sub { endless("HTTP/1.1 100 Continue\r\n\r\n", 0.01) },
	'split-crlf' => sub {
		((map { ($_, [ pause => 0.005 ]) } split //, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Split: yes\r\n\r\n"), 'ok', ['finish']);
	},
	'control-bytes' => sub { ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Control: a\x01\x1b[31mb\xff\r\n\r\nok", ['finish']) },
	'two-lengths' => sub { ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 20\r\n\r\nok", ['hang']) },
	'no-reason' => sub { ("HTTP/1.1 200\nContent-Length: 2\n\nok", ['finish']) },
	'upgrade' => sub { ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n\x01\x02", ['hang']) });

sub fault_answer
{
	my ($request) = @_;
	my $fault = $fault{ substr $request->{path}, 1 };

	return (pack('H*', $1), ['finish']) if $request->{path} =~ m{^/raw/([0-9a-f]+)$};
	return $fault ? $fault->() : text_answer($request, 200, 'ok');
}

# The same again and again, at some distance in seconds.
sub endless
{
	my ($text, $pause) = @_;
	return sub { ($text, $pause ? [ pause => $pause ] : ()) };
}

# A gigabyte of zeros.  A full flush makes a megabyte of them a piece that can
# be repeated.
sub gzip_bomb
{
	my $zeros = "\0" x (1 << 20);
	my ($deflate, $status) = Compress::Raw::Zlib::Deflate->new(
		-Level => Z_DEFAULT_COMPRESSION, -WindowBits => -15, -AppendOutput => 1);
	my ($piece, $end) = ('', '');

	$deflate->deflate($zeros, $piece) == Z_OK && $deflate->flush($piece, Z_FULL_FLUSH) == Z_OK
	  or die 'zlib fails';
	$deflate->flush($end);
	my $crc = crc32($zeros);
	my $size = 1 << 20;
	for (1 .. 10)
	{
		$crc = Compress::Raw::Zlib::crc32_combine($crc, $crc, $size);
		$size *= 2;
	}
	return "\x1f\x8b\x08\0\0\0\0\0\0\x03" . $piece x 1024 . $end . pack('VV', $crc, $size);
}

# ------------------------------------------------------------------------
# nginx, for TLS and HTTP/2
# ------------------------------------------------------------------------

# One nginx with a port for each certificate: good (for localhost and
# 127.0.0.1), expired, wrong_host, self_signed; and plain, without TLS.  The CA
# of the first three is in $server->{ca}, made for this test.  What comes is
# answered with 200 and "ok"; or handed on, with sink => one of start_sink().
sub start_tls_nginx
{
	my ($where, %opt) = @_;
	my $nginx = find_program('nginx', 'nginx');
	my $dir = server_directory($where, 'nginx');
	my $server = {
		name => 'nginx', dir => $dir, record => "$dir/access.log", read => 0,
		ca => "$dir/ca.crt", ports => {}, urls => {}, requests => [] };

	make_certificates($dir);
	my %reserved = map { $_ => listen_at(0, 1) } qw(good expired wrong_host self_signed plain);
	foreach my $kind (keys %reserved)
	{
		my $port = $server->{ports}->{$kind} = $reserved{$kind}->sockport;
		$server->{urls}->{$kind} = ($kind eq 'plain' ? 'http' : 'https') . "://localhost:$port";
	}
	$server->{url} = $server->{urls}->{good};
	$server->{port} = $server->{ports}->{good};
	write_file("$dir/nginx.conf", nginx_configuration($nginx, $server, %opt));
	write_file($server->{record}, '');
	undef %reserved;
	$server->{pid} = start_program("$dir/log", [],
		$nginx, '-p', $dir, '-e', "$dir/error.log", '-c', "$dir/nginx.conf");
	wait_port($server, $_) for values %{ $server->{ports} };
	return $server;
}

# What nginx has answered: hashes of kind, connection (its number), protocol
# ("HTTP/2.0"), tls, method, path, status.
sub tls_requests
{
	my ($server) = @_;

	read_record($server);
	return @{ $server->{requests} };
}

sub wait_tls_requests
{
	my ($server, $n) = @_;
	return wait_for_n($n, 'requests of nginx', sub { tls_requests($server) });
}

# A tool that a test cannot do without.
sub find_program
{
	my ($name, $package) = @_;
	foreach my $dir (split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin')
	{
		return "$dir/$name" if -x "$dir/$name";
	}
	die "$name is not installed: this test needs Debian's package $package";
}

sub nginx_configuration
{
	my ($nginx, $server, %opt) = @_;
	my $dir = $server->{dir};
	my ($major, $minor, $patch) = `$nginx -v 2>&1` =~ m{nginx/(\d+)\.(\d+)\.(\d+)};
	my $new = $major * 1e6 + $minor * 1e3 + $patch >= 1_025_001;
	my $listen = $new ? 'ssl' : 'ssl http2';
	my $http2 = $new ? 'http2 on;' : '';
	my $content = $opt{sink}
	  ? "proxy_pass $opt{sink}->{url}; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off;"
	  : 'return 200 "ok\n";';
	my $servers = '';

	while (my ($kind, $port) = each %{ $server->{ports} })
	{
		my $tls = $kind eq 'plain' ? "listen 127.0.0.1:$port;" : qq{
		listen 127.0.0.1:$port $listen; $http2
		ssl_certificate $dir/$kind.crt; ssl_certificate_key $dir/$kind.key;};
		$servers .= qq{
	server {$tls
		set \$kind $kind;
		location / { $content }
	}};
	}
	return qq{
daemon off;
worker_processes 1;
pid $dir/nginx.pid;
error_log $dir/error.log info;
events { worker_connections 2048; }
http {
	log_format record escape=json '{"kind":"\$kind","connection":\$connection,"protocol":"\$server_protocol",'
		'"tls":"\$ssl_protocol","method":"\$request_method","path":"\$request_uri","status":\$status}';
	access_log $dir/access.log record;
	client_body_temp_path $dir/body;
	proxy_temp_path $dir/proxy;
	fastcgi_temp_path $dir/fastcgi;
	uwsgi_temp_path $dir/uwsgi;
	scgi_temp_path $dir/scgi;
	keepalive_timeout 60s;
	keepalive_requests 100000;$servers
}
};
}

sub wait_port
{
	my ($server, $port) = @_;
	my $until = time() + $patience;

	while (time() < $until)
	{
		return if IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Proto => 'tcp');
		last if waitpid($server->{pid}, WNOHANG) == $server->{pid};
		sleep(0.02);
	}
	delete $children{ $server->{pid} };
	die 'nginx does not start: ' . read_text("$server->{dir}/log") . read_text("$server->{dir}/error.log");
}

# By "openssl ca", whose options for dates all versions have.
sub make_certificates
{
	my ($dir) = @_;
	my %host = (
		good => 'DNS:localhost,IP:127.0.0.1', expired => 'DNS:localhost,IP:127.0.0.1',
		wrong_host => 'DNS:elsewhere.example.com', self_signed => 'DNS:localhost,IP:127.0.0.1');

	write_file("$dir/index.txt", '');
	write_file("$dir/openssl.cnf", qq{
[req]
distinguished_name = dn
[dn]
[ca]
default_ca = test
[test]
database = $dir/index.txt
new_certs_dir = $dir
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
} . join('', map { "[$_]\nsubjectAltName = $host{$_}\nbasicConstraints = CA:false\n" } sort keys %host));

	make_key($dir, 'ca', '/CN=jobsched test authority');
	sign($dir, 'ca', 'authority', '-selfsign', '-keyfile', "$dir/ca.key", valid());
	foreach my $kind (sort keys %host)
	{
		make_key($dir, $kind, "/CN=$kind");
		my @by = $kind eq 'self_signed'
		  ? ('-selfsign', '-keyfile', "$dir/$kind.key")
		  : ('-keyfile', "$dir/ca.key", '-cert', "$dir/ca.crt");
		sign($dir, $kind, $kind, @by, $kind eq 'expired' ? expired() : valid());
	}
	return;
}

sub valid { return ('-startdate', '20200101000000Z', '-enddate', '20991231000000Z'); }
sub expired { return ('-startdate', '20200101000000Z', '-enddate', '20210101000000Z'); }

sub make_key
{
	my ($dir, $name, $subject) = @_;
	return openssl($dir, 'req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
		'-keyout', "$dir/$name.key", '-out', "$dir/$name.csr", '-subj', $subject);
}

sub sign
{
	my ($dir, $name, $extensions, @how) = @_;
	return openssl($dir, 'ca', '-batch', '-notext', '-in', "$dir/$name.csr", '-out', "$dir/$name.crt",
		'-extensions', $extensions, @how);
}

sub openssl
{
	my ($dir, $command, @args) = @_;
	my $openssl = find_program('openssl', 'openssl');
	my $quoted = join ' ', map { "'$_'" } $openssl, $command, '-config', "$dir/openssl.cnf", @args;

	system("$quoted >>'$dir/openssl.log' 2>&1") == 0
	  or die "openssl $command fails: " . read_text("$dir/openssl.log");
	return;
}

sub write_file
{
	my ($name, $text) = @_;

	open(my $file, '>', $name) or die "$name: $!";
	print $file $text;
	return close $file;
}

sub read_text
{
	my ($name) = @_;

	open(my $file, '<', $name) or return "($name: $!)";
	local $/;
	return scalar <$file>;
}

# ------------------------------------------------------------------------
# Names that lie
#
# getaddrinfo() of a server that with_resolver() starts asks us first.  A
# library for that server alone does it, and not a DNS server of ours, because
# the address of that is in /etc/resolv.conf, which only root can change, and
# for all of the machine.
# ------------------------------------------------------------------------

sub make_resolver
{
	my ($where) = @_;
	my $dir = server_directory($where, 'resolver');
	my $source = dirname(__FILE__) . '/../lib/resolver.c';
	my $compiler = $ENV{CC} || 'cc';
	my $resolver = { library => "$dir/resolver.so", hosts => "$dir/hosts" };

	system("$compiler -shared -fPIC -O1 -Wall -o '$resolver->{library}' '$source' -ldl >'$dir/log' 2>&1") == 0
	  or die 'the resolver cannot be compiled: ' . read_text("$dir/log");
	write_file($resolver->{hosts}, '');
	write_file("$resolver->{hosts}.asked", '');
	return $resolver;
}

# What a name is answered with, call after call: addresses, separated by
# commas; or "hang", until that is changed; or "fail".  The last one is repeated.
sub set_host
{
	my ($resolver, $name, @answers) = @_;

	$resolver->{names}->{$name} = join ' ', @answers;
	write_file("$resolver->{hosts}.new",
		join('', map { "$_ $resolver->{names}->{$_}\n" } sort keys %{ $resolver->{names} }));
	return rename("$resolver->{hosts}.new", $resolver->{hosts});
}

# How often a name has been asked for.
sub asked_for
{
	my ($resolver, $name) = @_;
	return scalar(() = read_text("$resolver->{hosts}.asked") =~ /^\Q$name\E$/mg);
}

# Runs a function that starts a server, which has it then.
sub with_resolver
{
	my ($resolver, $function) = @_;
	local $ENV{LD_PRELOAD} = join ' ', grep { defined } $ENV{LD_PRELOAD}, $resolver->{library};
	local $ENV{JOBSCHED_TEST_HOSTS} = $resolver->{hosts};

	# a server with AddressSanitizer wants to have no library before that
	local $ENV{ASAN_OPTIONS} = join ':', grep { defined } $ENV{ASAN_OPTIONS}, 'verify_asan_link_order=0';
	return $function->();
}

1;
