-- Run once by the image, when it makes its cluster. (psql, \getenv: PostgreSQL manual, psql.)
\getenv password SHORTENER_PASSWORD
CREATE ROLE shortener LOGIN PASSWORD :'password';
CREATE DATABASE shortener OWNER shortener;
\connect shortener
-- What claims about caching are judged by: the queries that the server answered, as it counts them.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
