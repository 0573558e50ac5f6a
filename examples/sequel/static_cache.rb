#!/usr/bin/ruby
# A Sequel model whose rows are cached in the process and follow their table.
# Only the migration differs from what Sequel's documentation says.
require 'sequel'

DB = Sequel.connect('postgres:///') # PGHOST and the like say where
DB.extension :pg_static_cache_updater

# The migration: instead of create_static_cache_update_function and
# create_static_cache_update_trigger.
DB.run 'CREATE EXTENSION IF NOT EXISTS cache_notify'
DB.run 'CREATE TABLE colour (id int PRIMARY KEY, name text)'
DB.run "SELECT cache_notify.setup_table_invalidation('colour', payload => 'oid')"
DB[:colour].insert(:id => 1, :name => 'red')

class Colour < Sequel::Model(:colour)
  plugin :static_cache
end
listening = Queue.new
DB.listen_for_static_cache_updates([Colour], :after_listen => proc { listening << true })
listening.pop

puts Colour[1].name # no query
DB[:colour].where(:id => 1).update(:name => 'scarlet')
sleep 0.01 until Colour[1].name == 'scarlet'
puts Colour[1].name # no query either
