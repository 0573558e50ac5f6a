#!/usr/bin/ruby
# Sequel's pg_static_cache_updater, as released: a model whose rows are cached in
# the process reloads them when its table changes. cache_notify takes the place of
# the trigger that Sequel would create. Says in TAP whether the models followed.

require 'sequel'

WAIT = 60.0 # seconds for what must come

$count = 0
$failed = 0

def ok(passed, name)
  $count += 1
  $failed += 1 unless passed
  puts "#{'not ' unless passed}ok #{$count} - #{name}"
end

# Does the block become true in time?
def soon
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + WAIT
  until (true_now = yield)
    break if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
    sleep 0.01
  end
  true_now
end

# The driver takes PGHOST and the like by itself.
DB = Sequel.connect('postgres:///')
$stdout.sync = true

DB.run <<SQL
CREATE EXTENSION cache_notify;
CREATE TABLE colour (id int PRIMARY KEY, name text);
CREATE TABLE size (id int PRIMARY KEY, name text);
CREATE TABLE other (tenant_id text);
INSERT INTO colour VALUES (1, 'red'), (2, 'green');
INSERT INTO size VALUES (1, 'small');
SELECT cache_notify.setup_table_invalidation('colour', payload => 'oid');
SELECT cache_notify.setup_table_invalidation('size', payload => 'oid');
SELECT cache_notify.setup_table_invalidation('other');
SQL

# How often a model has been loaded.
module CountLoads
  def loads
    @loads.to_i
  end

  def load_cache
    super
    @loads = loads + 1
  end
end

class Colour < Sequel::Model(:colour)
  plugin :static_cache
  extend CountLoads # after the plugin, so around it
end

class Size < Sequel::Model(:size)
  plugin :static_cache
  extend CountLoads # after the plugin, so around it
end

DB.extension :pg_static_cache_updater
listening = Queue.new
DB.listen_for_static_cache_updates([Colour, Size], :after_listen => proc { listening << true })
listening.pop

# Changes come from another session, around the models.
other = Sequel.connect('postgres:///')

other[:colour].where(:id => 1).update(:name => 'scarlet')
ok(soon { Colour[1].name == 'scarlet' }, 'an update reloads the model')
other[:colour].insert(:id => 3, :name => 'blue')
ok(soon { Colour[3]&.name == 'blue' }, 'so does an insert')
other[:colour].where(:id => 3).delete
ok(soon { Colour[3].nil? }, 'so does a delete')

loads = Colour.loads
other[:size].where(:id => 1).update(:name => 'tiny')
ok(soon { Size[1].name == 'tiny' }, 'another model is reloaded')
ok(Colour.loads == loads, 'and only that one')

other.transaction(:rollback => :always) do
  other[:colour].where(:id => 1).update(:name => 'never')
end
other[:size].where(:id => 1).update(:name => 'small') # heard after what must not be
soon { Size[1].name == 'small' }
ok(Colour.loads == loads, 'a rollback reloads nothing')

other.transaction do
  100.times { |i| other[:colour].where(:id => 2).update(:name => "green #{i}") }
end
ok(soon { Colour[2].name == 'green 99' }, 'of many statements the last is seen')
ok(Colour.loads == loads + 1, 'and loaded once')

# Sequel's own trigger does not fire on TRUNCATE.
other[:colour].truncate
ok(soon { Colour.all.empty? }, 'TRUNCATE reloads the model')

# More changes than the server keeps: everybody drops everything.
colours, sizes = Colour.loads, Size.loads
other.run "INSERT INTO other SELECT 't' || i FROM generate_series(1, 1000) i"
ok(soon { Colour.loads > colours && Size.loads > sizes }, 'a reset reloads every model')

# The example, in a database of its own.
other.run 'CREATE DATABASE example'
example = File.expand_path('../../../examples/sequel/static_cache', __dir__)
said = IO.popen({ 'PGDATABASE' => 'example' }, [RbConfig.ruby, "#{example}.rb"], &:read)
ok(said == File.read("#{example}.out"), 'the example says what it should')

# From Sequel's own triggers to cache_notify, as doc/migrating.md says.
other.run 'CREATE DATABASE migrated'
migrated = Sequel.connect('postgres:///migrated')
migrated.extension :pg_static_cache_updater
migrated.run 'CREATE TABLE colour (id int PRIMARY KEY, name text)'
migrated.create_static_cache_update_function
migrated.create_static_cache_update_trigger(:colour)
commands = IO.popen([File.expand_path('../doc-sql', __dir__), 'doc/migrating.md', 'Sequel'], &:read)
IO.popen(%w[psql -qX -v ON_ERROR_STOP=1 -o /dev/null migrated], 'w') { |psql| psql.write(commands) }
ok($?.success? && commands.include?('DROP FUNCTION'), 'the commands to migrate work')

shades = Class.new(Sequel::Model(migrated[:colour])) { plugin :static_cache }
migrated.listen_for_static_cache_updates([shades], :after_listen => proc { listening << true })
listening.pop
migrated[:colour].insert(:id => 1, :name => 'rose')
ok(soon { shades[1]&.name == 'rose' }, 'and the model follows')
ok(migrated[:pg_trigger].where(:tgname => 'sequel_static_cache_update').empty?, 'without a trigger of its own')

puts "1..#{$count}"
exit $failed.zero?
