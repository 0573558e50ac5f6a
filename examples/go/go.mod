module cachenotify.example/near

go 1.24.0

require (
	github.com/jackc/pgx/v5 v5.7.6
	github.com/maypok86/otter/v2 v2.2.1
)

require (
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	golang.org/x/crypto v0.37.0 // indirect
	golang.org/x/sys v0.34.0 // indirect
	golang.org/x/text v0.24.0 // indirect
)
