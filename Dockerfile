# PostgreSQL with cache_notify, preloaded and created in the first database:
#
#   docker build -t cache_notify --build-arg PG_MAJOR=17 .
#   docker run -e POSTGRES_PASSWORD=secret -p 5432:5432 cache_notify
#
# In a database that is there already: CREATE EXTENSION cache_notify.
ARG PG_MAJOR=17

FROM postgres:${PG_MAJOR} AS build
RUN apt-get update \
	&& apt-get install -y --no-install-recommends gcc libc6-dev make "postgresql-server-dev-$PG_MAJOR"
COPY . /src
RUN make -C /src clean all \
	&& make -C /src install DESTDIR=/installed

FROM postgres:${PG_MAJOR}
COPY --from=build /installed /
RUN echo 'CREATE EXTENSION cache_notify;' > /docker-entrypoint-initdb.d/cache_notify.sql
CMD ["postgres", "-c", "shared_preload_libraries=cache_notify"]
