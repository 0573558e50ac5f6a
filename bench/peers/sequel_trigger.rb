# Lets Sequel itself create its trigger: DATABASE TABLE CHANNEL.
# Where the server is comes from PGHOST, PGPORT and PGUSER.
require 'sequel'

database, table, channel = ARGV
db = Sequel.connect(adapter: 'postgres', database: database)
db.extension :pg_static_cache_updater
db.create_static_cache_update_function(channel_name: channel)
db.create_static_cache_update_trigger(table.to_sym)
