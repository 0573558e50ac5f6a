# A name means what SQL means by it: values that "=" calls equal are one tenant
# and one key, however they are written, for every type of the server and of
# contrib, in arrays, domains and composite types too.
#
# The table below has for each type values that are equal, as many ways to write
# them as there are, and values that are not.  Each is written into a row, as
# tenant and as key; tokens are taken for each way to write it, by a session with
# odd settings too; then the row is changed.
#
# Failure shows as a token of the same value that stays current, as one of another
# value that goes stale although the type is known good, or as a type that the
# table lacks.
use strict;
use warnings;

use utf8;

use CacheNotify;
use Test::More;

my $node = start_server('main');

sub ask
{
	my ($sql) = @_;
	my ($code, $out, $err) = $node->psql('postgres', $sql, on_error_stop => 1, timeout => 600);
	diag($err), die if $code != 0;
	return $out;
}

# good: its values may name something.  image: because equal values of it are the
# same bytes, as the default operator class says as well.  equal: lists of ways to
# write one value.  apart: values that differ, and from those.  no_input: nothing
# can be written for it.
my %types = (
	bool => { good => 1, image => 1, equal => [ [qw(true t yes ON 1), ' TRUE '], [qw(false f no off 0)] ] },
	bytea => { good => 1, image => 1, equal => [ [ '\x4142', 'AB', '\x4142 ', '\101B' ], [ '\xab', '\xAB' ] ], apart => [ '\x41', '' ] },
	char => { name => '"char"', equal => [ ['a'] ] },
	name => { good => 1, equal => [ [ 'x' x 63, 'x' x 70 ], ['a'] ], apart => [ 'A', 'a ' ] },
	int2 => { good => 1, image => 1, equal => [ [ '1', '01', '1.0', '+1', ' 1 ', '1e0' ], [ '0', '-0' ], ['-5'] ], apart => [ '10', '11' ] },
	int4 => { good => 1, image => 1, equal => [ [ '1', '01', '1.0', '+1', ' 1 ', '1e0' ], [ '0', '-0' ], ['-5'] ], apart => [ '10', '11' ] },
	int8 => { good => 1, image => 1, equal => [ [ '1', '01', '1.0', '+1', ' 1 ', '1e0' ], ['9223372036854775807'], [ '-9223372036854775808', '-9223372036854775808.0' ] ], apart => [ '10', '11' ] },
	oid => { good => 1, image => 1, equal => [ [ '1', '01', ' 1' ], [ '4294967295', '-1' ] ], apart => ['2'] },
	oid8 => { equal => [ ['1'] ] },
	text => { good => 1, image => 1, equal => [ ['a'], [''], ['a/b%2F'], ['1.0'] ], apart => [ 'A', 'a ', '1', 'a/b/' ] },
	varchar => { good => 1, equal => [ ['a'], ['1.0'] ], apart => [ 'A', 'a ', '1' ] },
	bpchar => { good => 1, equal => [ [ 'a', 'a  ' ] ], apart => [ 'A', ' a' ] },
	'char(8)' => { good => 1, equal => [ [ 'acme', 'acme    ', 'acme  ' ] ], apart => [ 'ACME', 'ac' ] },
	'numeric(10, 2)' => { good => 1, equal => [ [ '1', '1.0', '1.00', '01', '1e0', '+1' ] ], apart => [ '1.01', '10' ] },
	numeric => { good => 1, equal => [ [ '1', '1.0', '1.00', '01', '10e-1', '+1.' ], [ '0', '0.0', '-0', '-0.00' ], [ '100', '1e2' ], ['NaN', 'nan'], [ '12345678901234567890.5', '12345678901234567890.50' ] ], apart => [ '1.01', '10' ] },
	float4 => { good => 1, equal => [ [ '1', '1.0', '1e0' ], [ '0', '-0', '-0.0' ], [ '0.1', '0.10', '1e-1' ], [ 'NaN', 'nan' ], [ '1000000', '1e6', '1e+06' ], [ 'Infinity', 'inf' ] ], apart => [ '1.5', '10' ] },
	float8 => { good => 1, equal => [ [ '1', '1.0', '1e0' ], [ '0', '-0', '-0.0' ], [ '0.1', '0.10', '1e-1' ], [ 'NaN', 'nan' ], [ '1e+20', '100000000000000000000' ], [ '-Infinity', '-inf' ] ], apart => [ '1.5', '10' ] },
	uuid => { good => 1, image => 1, equal => [ [ '550e8400-e29b-41d4-a716-44665544abcd', '550E8400-E29B-41D4-A716-44665544ABCD', '{550e8400e29b41d4a71644665544abcd}' ] ], apart => ['550e8400-e29b-41d4-a716-44665544abce'] },
	date => { good => 1, image => 1, equal => [ [ '2024-02-01', '2024-2-1', '2024-02-01 00:00:00' ], ['infinity'], ['0044-03-15 BC'] ], apart => [ '2024-01-02', '2024-02-02' ], vague => ['01/02/2024'] },
	time => { good => 1, image => 1, equal => [ [ '12:00', '12:00:00', '12:00:00.000' ] ], apart => [ '12:00:01', '00:00' ], vague => ['12:00 PM'] },
	timetz => { good => 1, image => 1, equal => [ [ '12:00+02', '12:00:00+02:00', '12:00:00.0+0200' ] ], apart => [ '10:00+00', '12:00+01' ], vague => ['12:00'] },
	timestamp => { good => 1, image => 1, equal => [ [ '2024-02-01 12:00', '2024-02-01T12:00:00', '2024-02-01 12:00:00.000' ], ['-infinity'] ], apart => [ '2024-01-02 12:00', '2024-02-01 12:01' ], vague => ['1 Feb 2024 12:00'] },
	timestamptz => { good => 1, image => 1, equal => [ [ '2024-02-01 12:00+00', '2024-02-01T12:00:00Z', '2024-02-01 14:00:00+02', '2024-02-01 17:30+05:30' ] ], apart => ['2024-01-02 12:00Z'], vague => [ '2024-02-01 12:00', '2024-02-01' ] },
	inet => { good => 1, image => 0, equal => [ [ '10.0.0.1', '10.0.0.1/32' ], [ '::1', '0:0:0:0:0:0:0:1', '::1/128' ], [ '::ffff:a00:1', '::FFFF:10.0.0.1' ] ], apart => [ '10.0.0.1/24', '10.0.0.2' ] },
	cidr => { good => 1, image => 0, equal => [ [ '10.0.0.0/8', '10/8' ] ], apart => ['10.0.0.0/9'] },
	macaddr => { good => 1, image => 1, equal => [ [ '08:00:2b:01:02:03', '08-00-2B-01-02-03', '0800.2b01.0203' ] ], apart => ['08:00:2b:01:02:04'] },
	macaddr8 => { good => 1, image => 1, equal => [ [ '08:00:2b:ff:fe:01:02:03', '08:00:2b:01:02:03', '08-00-2B-FF-FE-01-02-03' ] ], apart => ['08:00:2b:ff:fe:01:02:04'] },
	'bit(4)' => { good => 1, equal => [ [ '1010', 'b1010', 'xA' ] ], apart => ['1011'] },
	bit => { good => 1, image => 0, equal => [ ['1'] ], apart => ['0'] },
	varbit => { good => 1, image => 0, equal => [ [ '1010', 'B1010', 'XA' ] ], apart => [ '10100', '1011' ] },
	pg_lsn => { good => 1, image => 1, equal => [ [ '0/AB', '0/ab', '0/00AB' ] ], apart => ['0/AC'] },
	xid8 => { good => 1, image => 1, equal => [ [ '16', '0x10', '020' ] ], apart => ['17'] },
	int4range => { good => 1, equal => [ [ '[1,3)', '[1,2]', '(0,2]', '[1, 3)', '[01,3)' ], [ 'empty', '[1,1)', 'EMPTY' ] ], apart => [ '[1,4)', '[1,)' ] },
	int8range => { good => 1, equal => [ [ '[1,3)', '[1,2]', '(0,2]' ] ], apart => [ '[1,4)', '[1,)' ] },
	int4multirange => { good => 1, equal => [ [ '{[1,3)}', '{[1,2]}', '{[1,2),[2,3)}' ] ], apart => ['{[1,4)}'] },
	int8multirange => { good => 1, equal => [ [ '{[1,3)}', '{[1,2]}', '{[1,2),[2,3)}' ] ], apart => ['{[1,4)}'] },

	# Not known good: every change reaches all.
	numrange => { equal => [ [ '[1,2)', '[1.0,2.00)' ] ] },
	tsrange => { equal => [ [ '[2024-01-01,2024-01-02)', '["2024-01-01 00:00","2024-01-02 00:00")' ] ] },
	tstzrange => { equal => [ [ '[2024-01-01 00:00Z,)', '[2024-01-01 01:00+01,)' ] ] },
	daterange => { equal => [ [ '[2024-01-01,2024-01-03)', '[2024-01-01,2024-01-02]' ] ] },
	nummultirange => { equal => [ [ '{[1,2)}', '{[1.0,2.00)}' ] ] },
	tsmultirange => { equal => [ [ '{[2024-01-01,2024-01-02)}', '{["2024-01-01 00:00","2024-01-02 00:00")}' ] ] },
	tstzmultirange => { equal => [ [ '{[2024-01-01 00:00Z,)}', '{[2024-01-01 01:00+01,)}' ] ] },
	datemultirange => { equal => [ [ '{[2024-01-01,2024-01-03)}', '{[2024-01-01,2024-01-02]}' ] ] },
	interval => { equal => [ [ '1 day', '24 hours', 'P1D' ], [ '1 month', '30 days' ] ] },
	jsonb => { equal => [ [ '{"a": 1, "b": 1.0}', '{"b":1.00,"a":1}' ] ] },
	json => { equal => [ ['{"a": 1}'] ] },
	jsonpath => { equal => [ [ '$.a', '$."a"' ] ] },
	xml => { equal => [ ['<a/>'] ] },
	money => { equal => [ [ '1', '$1.00' ] ] },
	point => { equal => [ [ '(1,2)', '1.0,2' ] ] },
	lseg => { equal => [ [ '[(0,0),(1,1)]', '0,0,1.0,1' ] ] },
	path => { equal => [ [ '[(0,0),(1,1)]', '[(5,5),(6,6)]' ] ] },
	box => { equal => [ [ '(1,1),(0,0)', '(2,0.5),(0,0)' ] ] },
	polygon => { equal => [ ['((0,0),(1,1),(1,0))'] ] },
	line => { equal => [ [ '{1,-1,0}', '{2,-2,0}' ] ] },
	circle => { equal => [ [ '<(0,0),1>', '<(5,5),1>' ] ] },
	tsvector => { equal => [ [ 'a b', 'b a', q('a' 'b') ] ] },
	tsquery => { equal => [ [ 'a & b', q('a'&'b') ] ] },
	int2vector => { equal => [ [ '1 2', ' 1  2' ] ] },
	oidvector => { equal => [ [ '1 2', ' 1  2' ] ] },
	tid => { equal => [ [ '(0,1)', '(00,01)' ] ] },
	xid => { equal => [ [ '1', '01' ] ] },
	cid => { equal => [ [ '1', '01' ] ] },
	refcursor => { equal => [ ['a'] ] },
	aclitem => { no_input => 1 },
	pg_snapshot => { equal => [ [ '10:20:', '010:20:' ] ] },
	txid_snapshot => { equal => [ [ '10:20:', '010:20:' ] ] },
	regclass => { equal => [ [ 'pg_class', 'pg_catalog.pg_class', '1259' ] ] },
	regtype => { equal => [ [ 'int4', 'integer', '23' ] ] },
	regproc => { equal => [ [ 'now', 'pg_catalog.now', '1299' ] ] },
	regprocedure => { equal => [ [ 'now()', 'pg_catalog.now()', '1299' ] ] },
	regoper => { equal => [ ['!!'], ['0'] ] },
	regoperator => { equal => [ [ '=(integer,integer)', '=(int4,int4)', '96' ] ] },
	regcollation => { equal => [ [ '"C"', 'pg_catalog."C"', '950' ] ] },
	regrole => { equal => [ [ 'pg_monitor', '3373' ] ] },
	regnamespace => { equal => [ [ 'pg_catalog', '11' ] ] },
	regconfig => { equal => [ [ 'simple', 'pg_catalog.simple' ] ] },
	regdictionary => { equal => [ [ 'simple', 'pg_catalog.simple' ] ] },
	regdatabase => { equal => [ ['postgres'] ] },
	map({ $_ => { no_input => 1 } } qw(pg_node_tree gtsvector pg_ndistinct pg_dependencies pg_mcv_list
		  pg_brin_bloom_summary pg_brin_minmax_multi_summary)),

	# information_schema
	cardinal_number => { name => 'information_schema.cardinal_number', good => 1, equal => [ [ '1', '01', '1.0' ] ], apart => ['2'] },
	character_data => { name => 'information_schema.character_data', good => 1, equal => [ ['a'] ], apart => ['A'] },
	sql_identifier => { name => 'information_schema.sql_identifier', good => 1, equal => [ ['a'] ], apart => ['A'] },
	time_stamp => { name => 'information_schema.time_stamp', good => 1, equal => [ [ '2024-02-01 12:00Z', '2024-02-01 13:00+01' ] ], apart => ['2024-02-01 13:00Z'] },
	yes_or_no => { name => 'information_schema.yes_or_no', good => 1, equal => [ ['YES'] ], apart => ['NO'] },

	# contrib
	citext => { good => 1, equal => [ [ 'ACME', 'acme', 'Acme' ], [ 'É', 'é' ], [ 'k', 'K' ], ["\x{212A}"] ], apart => [ 'acm', 'b' ], nameless => [ 'É', 'é', "\x{212A}" ] },
	hstore => { equal => [ [ 'a=>1, b=>2', 'b=>2,a=>1', '"a"=>"1","b"=>"2"' ] ] },
	ghstore => { no_input => 1 },
	ltree => { equal => [ ['a.b'] ] },
	lquery => { equal => [ ['a.*'] ] },
	ltxtquery => { equal => [ [ 'a & b', 'a&b' ] ] },
	ltree_gist => { no_input => 1 },
	cube => { equal => [ [ '(1,2)', '(1.0,2),(1,2)', '1,2' ] ] },
	seg => { equal => [ [ '1 .. 2', '1.0..2.00' ] ] },
	query_int => { equal => [ [ '1&2', '1 & 2' ] ] },
	lo => { good => 1, equal => [ [ '1', '01' ] ], apart => ['2'] },
	gbtreekey_any => { no_input => 1 },
	map({ $_ => { equal => [ [ '978-0-393-04002-9', '9780393040029' ] ] } } qw(isbn13)),
	map({ $_ => { no_input => 1 } } qw(query_int_gist intbig_gkey gtrgm),
		map { "gbtreekey$_" } 2, 4, 8, 16, 32, '_var'),
	ean13 => { equal => [ [ '978-0-393-04002-9', '9780393040029' ] ] },
	isbn => { equal => [ [ '0-393-04002-X', '039304002X', '9780393040029' ] ] },
	ismn13 => { equal => [ [ '979-0-060-11561-5', '9790060115615' ] ] },
	ismn => { equal => [ [ 'M-060-11561-5', '9790060115615' ] ] },
	issn13 => { equal => [ [ '977-1436-452-00-8', '9771436452008' ] ] },
	issn => { equal => [ [ '1436-4522', '14364522' ] ] },
	upc => { equal => [ [ '036000291452', '0036000291452' ] ] },
	earth => { no_input => 1 },

	# ours
	mood => { good => 1, equal => [ ['glad'], ['a b'] ], apart => ['sad'] },
	words => { name => 'text COLLATE any_case', equal => [ [ 'acme', 'ACME' ] ] },
	any_word => { equal => [ [ 'acme', 'ACME' ] ] },
);

my @contrib = qw(btree_gist citext cube earthdistance hstore intarray isn lo ltree pg_trgm seg);
ask("CREATE EXTENSION $_ CASCADE") foreach grep { $_ ne 'earthdistance' } @contrib;
ask(<<'END');
CREATE EXTENSION earthdistance;
CREATE TYPE mood AS ENUM ('sad', 'glad', 'a b');
CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE DOMAIN any_word AS text COLLATE any_case;
END

# ------------------------------------------------------------ what is there

my %there = map { $_ => 1 } split /\n/, ask(q{
	SELECT t.typname FROM pg_type t
	WHERE t.typtype IN ('b', 'd', 'e', 'm', 'r') AND t.typrelid = 0
	AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)});
is(join(' ', grep { !$types{$_} } sort keys %there), '', 'the table has every type');
my @names = grep { $there{$_} || /\(/ || $_ eq 'words' } sort keys %types;
cmp_ok(scalar @names, '>', 100, 'and the server most of the table');

sub sql_name { my $t = $types{ $_[0] }; return $t->{name} || $_[0]; }

# The server's own word: equal is identical.
my %same_image = map { $_ => 1 } split /\n/, ask(q{
	SELECT t.typname FROM pg_type t
	JOIN pg_opclass o ON o.opcintype = t.oid AND o.opcdefault
	JOIN pg_am a ON a.oid = o.opcmethod AND a.amname = 'btree'
	JOIN pg_amproc p ON p.amprocfamily = o.opcfamily AND p.amproclefttype = t.oid
		AND p.amprocrighttype = t.oid AND p.amprocnum = 4});
is(join(' ', grep { $types{$_}{image} && !$same_image{$_} } @names), '',
	'where equal is taken for identical, the operator class says so');

# ------------------------------------------------------------------- variants

# The type itself, and what is made of it: what a value is written like there.
my %no_array = map { $_ => 1 } split /\n/, ask('SELECT typname FROM pg_type WHERE typarray = 0');
my @variants;
foreach my $name (@names)
{
	my $type = $types{$name};
	my $sql = sql_name($name);
	(my $id = $name) =~ s/\W+/_/g;

	push @variants, { %$type, label => $name, sql => $sql };
	next if $sql =~ /COLLATE/;
	ask("CREATE DOMAIN d_$id AS $sql; CREATE TYPE c_$id AS (v $sql, n int)");
	push @variants, { %$type, label => "domain over $name", sql => "d_$id" };
	push @variants, { %$type, label => "composite of $name", sql => "c_$id", around => 'composite', good => 0 };
	next if $no_array{$name};
	ask("CREATE DOMAIN da_$id AS $sql\[]");
	push @variants, { %$type, label => "$name\[]", sql => "$sql\[]", around => 'array' };
	push @variants, { %$type, label => "domain over $name\[]", sql => "da_$id", around => 'array' };
}

# How a value is written in a variant.
sub around
{
	my ($variant, $text) = @_;
	return $text unless $variant->{around};
	(my $quoted = $text) =~ s/(["\\])/\\$1/g;
	return $variant->{around} eq 'array' ? "{\"$quoted\"}" : "(\"$quoted\",1)";
}

sub literal { my $s = shift; utf8::encode($s) if utf8::is_utf8($s); $s =~ s/'/''/g; return "'$s'"; }

# -------------------------------------------------------------------- looking

ask(<<'END');
CREATE TABLE looked (variant text, row_value text, name text, settings text, side text, stale boolean);
CREATE FUNCTION is_value(value text, type text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT CAST(%L AS %s)', value, regexp_replace(type, ' COLLATE.*', ''));
	RETURN true;
EXCEPTION WHEN OTHERS THEN
	RETURN false;
END $$;
CREATE FUNCTION odd_settings() RETURNS void LANGUAGE sql AS $$
	SELECT set_config('datestyle', 'SQL, DMY', true), set_config('intervalstyle', 'iso_8601', true),
		set_config('bytea_output', 'escape', true), set_config('timezone', 'Asia/Kolkata', true),
		set_config('extra_float_digits', '1', true), set_config('search_path', 'public, pg_catalog', true);
$$;
-- What the session makes of a row's value, beside the ways to write it.
CREATE PROCEDURE look(variant text, type text, is_new boolean, row_values text[], names text[])
LANGUAGE plpgsql AS $$
DECLARE
	value text;
	odd boolean;
	own text;
BEGIN
	IF is_new THEN
		EXECUTE format('DROP TABLE IF EXISTS one; CREATE TABLE one (t %s, k %1$s, x int)', type);
		PERFORM cache_notify.setup_table_invalidation('one', 'tenants', 't');
		PERFORM cache_notify.setup_table_invalidation('one', 'keys', keys => '{k}', buckets => 1048576);
		COMMIT;
	END IF;
	FOREACH value IN ARRAY row_values LOOP
		CONTINUE WHEN NOT is_value(value, type);
		EXECUTE format('DELETE FROM one; INSERT INTO one VALUES (%L, %1$L, 1)', value);
		COMMIT;
		CREATE TEMP TABLE asked AS SELECT NULL::text AS name, NULL::text AS settings, NULL::text AS side, NULL::text AS token LIMIT 0;
		FOREACH odd IN ARRAY '{false,true}'::boolean[] LOOP
			IF odd THEN
				PERFORM odd_settings();
			END IF;
			EXECUTE 'SELECT k::text FROM one' INTO own;
			INSERT INTO asked
			SELECT n, CASE WHEN odd THEN 'odd' ELSE 'plain' END, 'tenant', cache_notify.token(n, 'tenants')
				FROM unnest(names || own) AS u (n)
			UNION ALL
			SELECT n, CASE WHEN odd THEN 'odd' ELSE 'plain' END, 'key', cache_notify.token(NULL, cache_notify.key_name('keys', n))
				FROM unnest(names || own) AS u (n);
			COMMIT;
		END LOOP;
		UPDATE one SET x = 2;
		COMMIT;
		INSERT INTO looked SELECT look.variant, value, a.name, a.settings, a.side, NOT cache_notify.is_current(a.token) FROM asked a;
		DROP TABLE asked;
	END LOOP;
END $$;
END

my @script = ('SET client_min_messages = warning;');
foreach my $variant (@variants)
{
	my @groups = @{ $variant->{equal} || [] };
	my @others = map { around($variant, $_) } @{ $variant->{apart} || [] };
	my $is_new = 'true';
	push @groups, [] if $variant->{no_input};
	foreach my $group (@groups)
	{
		my @ways = map { around($variant, $_) } @$group;
		push @script, sprintf("CALL look(%s, %s, %s, ARRAY[%s]::text[], ARRAY[%s]::text[]);",
			literal($variant->{label}), literal($variant->{sql}), $is_new, join(', ', map { literal($_) } @ways),
			join(', ', map { literal($_) } @ways, @others, map { around($variant, $_) } @{ $variant->{vague} || [] }));
		$is_new = 'false';
		last if $variant->{around} && !long_test();
	}
}
ask(join("\n", @script));

# ------------------------------------------------------------------- verdict

cmp_ok(ask('SELECT count(*) FROM looked'), '>', 2000, 'much was looked at');
is(ask('SELECT count(*) FROM looked WHERE stale IS NULL'), 0, 'every name had a token');
ask(<<'END');
CREATE TABLE expected (variant text, sql text, good boolean, apart text[], nameless text[]);
END
ask('INSERT INTO expected VALUES ' . join ', ', map {
	my $variant = $_;
	my $list = sub { return 'ARRAY[' . join(', ', map { literal(around($variant, $_)) } @{ $variant->{ $_[0] } || [] }) . ']::text[]'; };
	sprintf('(%s, %s, %s, %s, %s)', literal($variant->{label}), literal($variant->{sql}),
		$variant->{good} ? 'true' : 'false', $list->('apart'), $list->('nameless')); } @variants);
my $where = "format('%s: %s, %s as %s (%s)', l.variant, l.row_value, l.name, l.side, l.settings)";
my $ways = 0;
foreach my $wrong (split /\n/, ask("SELECT $where FROM looked l JOIN expected e USING (variant)"
		  . ' WHERE NOT stale AND name <> ALL (apart)'))
{
	fail("one name however it is written: $wrong") if $ways++ < 20;
}
is($ways, 0, 'all ways to write a value are one name');
is(ask("SELECT string_agg($where, E'\\n') FROM looked l JOIN expected e USING (variant)"
		  . ' WHERE stale AND good AND name = ANY (apart) AND row_value <> ALL (nameless)'),
	'', 'other values stay apart where the type is known good');
cmp_ok(ask('SELECT count(*) FROM looked JOIN expected USING (variant) WHERE good AND name = ANY (apart)'), '>', 1000,
	'of which there were many');

# Types are what the table says.
ask('CREATE TABLE probe (' . join(', ', map { "c$_ $variants[$_]{sql}" } 0 .. $#variants) . ')');
is( ask('SELECT string_agg(e.variant, \', \') FROM expected e JOIN (VALUES '
		  . join(', ', map { '(' . literal($variants[$_]{label}) . ", 'c$_')" } 0 .. $#variants)
		  . ') AS p (variant, name) USING (variant)'
		  . " WHERE good <> (_cache_notify.naming_type_of('probe'::regclass, p.name) IS NOT NULL)"),
	'', 'the types that may name something are those of the table');

$node->stop;
done_testing();
