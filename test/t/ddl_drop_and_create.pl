# G3: the extension is dropped and created once more. Listeners hear a reset at the
# drop, however it is dropped, since nobody tells them anything afterwards; and the
# versions that come later are above those that there have been.
#
# Failure shows as a listener that heard nothing, or as a version that was there before.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use WorkerLane;

for my $lane ('commit', 'worker')
{
	my $node =
	  $lane eq 'commit'
	  ? start_server('commit', "cache_notify.former_origin = ''")
	  : worker_server('worker', "cache_notify.former_origin = ''");
	my $ask = sub { return $node->safe_psql('postgres', $_[0]) };
	my $setup = <<'END';
SELECT cache_notify.setup_table_invalidation('item');
SELECT cache_notify.setup_table_invalidation('item', 'other', channel => 'other');
INSERT INTO item VALUES (1, 'a');
END
	$ask->('CREATE ROLE installer SUPERUSER; CREATE TABLE item (id int, tenant_id text);' . $setup);
	is($ask->("SELECT cache_notify.version('item', 'a')"), 1, "$lane: a first extension begins at nothing");
	my $ear = session($node);
	$ear->query('LISTEN cache_invalidation; LISTEN other');

	# What becomes of a DROP that fails, or is rolled back?
	$ear->heard;
	$node->psql('postgres', 'DROP EXTENSION cache_notify');
	$ask->('BEGIN; DROP EXTENSION cache_notify CASCADE; ROLLBACK');
	is_deeply([ $ear->payloads ], [], "$lane: nobody hears of a DROP that is not done");
	is($ask->('SELECT count(*) FROM pg_db_role_setting'), 0, "$lane: and nothing is left behind");

	for my $drop (
		'DROP EXTENSION cache_notify CASCADE',
		'DROP SCHEMA cache_notify CASCADE',
		'SET ROLE installer; DROP OWNED BY installer CASCADE')
	{
		if ($drop =~ /OWNED/)
		{
			$ask->('DROP EXTENSION cache_notify CASCADE; SET ROLE installer; DROP SCHEMA IF EXISTS cache_notify; CREATE EXTENSION cache_notify; RESET ROLE;' . $setup);
		}
		$ask->("INSERT INTO item VALUES (7, 'a')");
		my ($version, $token) = split /\|/, $ask->("SELECT cache_notify.version('item', 'a'), cache_notify.token('a', 'item')");
		wait_for('what was written to be told', sub {
				grep { $_->{payload} =~ /"domain": "item", "version": $version\b/ } $ear->heard });
		$ask->($drop);
		is_deeply([ sort map { "$_->{channel} $_->{payload}" } grep { $_->{payload} =~ /reset/ } $ear->heard ],
			[ 'cache_invalidation {"reset": true}', 'other {"reset": true}' ], "$lane: $drop: a reset on every channel");
		$ask->('CREATE EXTENSION cache_notify;' . $setup);
		cmp_ok($ask->("SELECT cache_notify.version('item', 'a')"), '>', $version, "$lane: $drop: versions go on above");
		is($ask->("SELECT cache_notify.is_current('$token')"), 'f', "$lane: $drop: tokens are stale");
		$ear->heard;
	}

	# Whoever has an older snapshot notes no history of its own: versions of one and tokens
	# of the other could not be compared.
	for my $snapshot ('REPEATABLE READ', 'SERIALIZABLE')
	{
		my $old = session($node);

		$old->query("BEGIN ISOLATION LEVEL $snapshot; SELECT 1");
		$ask->("BEGIN; DROP EXTENSION cache_notify CASCADE; CREATE EXTENSION cache_notify; $setup COMMIT");
		my $first = $ask->("SELECT cache_notify.version_origin(), cache_notify.token('a', 'item')");
		$old->query("SELECT cache_notify.version('item', 'a'), cache_notify.token('a', 'item'), cache_notify.current_position()");
		$old->query('COMMIT');
		is($ask->("SELECT cache_notify.version_origin(), cache_notify.token('a', 'item')"), $first, "$lane: $snapshot: there is one history");
	}
	$node->stop;
}

done_testing();
