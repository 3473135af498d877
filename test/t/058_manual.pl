# Copyright (c) 2026, jobsched contributors

# The manual says what there is: functions with their parameters and defaults,
# views with their columns, settings with defaults and bounds.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('manual');
create_extension($node, $db);

sub page
{
	my ($name) = @_;
	return slurp_file("$FindBin::Bin/../../$name");
}

# ------------------------------------------------------------------------
# Functions: each signature, as the page has it, makes a function of its own,
# and the server tells what it is.
# ------------------------------------------------------------------------

my $reference = page('doc/reference.md');
my ($functions, $views) = split /^## Views$/m, $reference;
my @signatures = map { split /\n\n/ } $functions =~ /^```\n(.*?)^```$/msg;

my $definitions = join "\n", map {
	my $signature = $_ =~ s/\ACALL //r;
	my $kind = $_ eq $signature ? 'FUNCTION' : 'PROCEDURE';
	"CREATE $kind manual.$signature LANGUAGE plpgsql AS 'BEGIN END';"
} @signatures;

my $described = q{SELECT p.proname, p.prokind, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)
	FROM pg_proc p WHERE p.pronamespace = 'NAMESPACE'::regnamespace ORDER BY 1};

$node->safe_psql($db, "SET check_function_bodies = off; CREATE SCHEMA manual; $definitions");
is($node->safe_psql($db, $described =~ s/NAMESPACE/manual/r), $node->safe_psql($db, $described =~ s/NAMESPACE/jobsched/r),
	'functions are as reference.md has them');

# ------------------------------------------------------------------------
# Views
# ------------------------------------------------------------------------

my %columns = $views =~ /^### View (\w+)\n\n```\n(.*?)\n```$/msg;
my $page = join "\n", map { "$_: " . $columns{$_} =~ s/\s+/ /gr } sort keys %columns;

is($page, $node->safe_psql($db, q{SELECT c.relname || ': ' || string_agg(quote_ident(a.attname) || ' ' ||
		replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz'), ', ' ORDER BY a.attnum)
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.relnamespace = 'jobsched'::regnamespace AND c.relkind = 'v' GROUP BY c.relname ORDER BY c.relname COLLATE "C"}),
	'views are as reference.md has them');

# ------------------------------------------------------------------------
# Settings
# ------------------------------------------------------------------------

my %unit = ('' => 1, kB => 1, MB => 1024, GB => 1024**2, TB => 1024**3, min => 60, years => 365.25 * 86400, days => 86400_000);
my %who = (sighup => 'reload', postmaster => 'restart', user => 'anybody', superuser => 'superuser');

# As the page writes it: a bound that is "about" so much is so within a fiftieth.
sub is_bound
{
	my ($written, $bound) = @_;
	my ($about, $n, $unit) = $written =~ /^(about )?(\d+) ?(\w*)$/ or return 0;

	return abs($n * $unit{$unit} - $bound) <= ($about ? $bound / 50 : $unit{$unit} > 1 ? $unit{$unit} / 2 : 0);
}

my $settings = page('doc/settings.md');
my @rows = $settings =~ /^\| \[`\w+`\].*$/mg;
my %documented = map { my ($name, @rest) = (split / \| /)[ 0 .. 3 ]; ($name =~ /`(\w+)`/)[0] => \@rest } @rows;
my @there = map { [ split /\|/, $_, -1 ] } split /\n/, $node->safe_psql($db, q{
	SELECT substr(name, 10), context, vartype, current_setting(name), COALESCE(min_val, ''), COALESCE(max_val, '')
	FROM pg_settings WHERE name LIKE 'jobsched.%' ORDER BY name COLLATE "C"});

is(join(' ', sort keys %documented), join(' ', map { $_->[0] } @there), 'settings.md has all settings');
for my $setting (@there)
{
	my ($name, $context, $type, $value, $least, $most) = @$setting;
	my ($default, $range, $by) = @{ $documented{$name} || [ '', '', '' ] };
	my ($from, $to) = split / to /, $range;

	is($default =~ s/`//gr =~ s/ //gr =~ s/^empty$//r, $value, "$name: default");
	is($by, $who{$context}, "$name: who can change it");
	ok(is_bound($from, $least) && is_bound($to // '', $most), "$name: from $least to $most") if $type eq 'integer';
	like($settings, qr/^### .*jobsched\.$name\b/m, "$name: has a section");
}

$node->stop;
done_testing();
