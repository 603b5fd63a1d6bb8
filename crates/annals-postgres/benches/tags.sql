-- An index over an array of tags beside a table of tags: psql -f crates/annals-postgres/benches/tags.sql
\timing on
create table g(position bigint primary key, stream text collate "C", version bigint, event_type text collate "C", tags text[] collate "C", data bytea);
create index g_tags on g using gin(tags) ;
create table p(like g including all); drop index p_tags_idx;
create table postings(tag text collate "C", position bigint, primary key(tag, position));
create function fill_g(a int, b int) returns void language sql as $$
 insert into g select i, 's-'||i%5000, i/5000, 'T', array['acct:'||i%5000, 'course:'||i%50], '\x00' from generate_series(a,b) i $$;
create function fill_p(a int, b int) returns void language sql as $$
 insert into p select i, 's-'||i%5000, i/5000, 'T', array['acct:'||i%5000, 'course:'||i%50], '\x00' from generate_series(a,b) i;
 insert into postings select t, i from generate_series(a,b) i, unnest(array['acct:'||i%5000, 'course:'||i%50]) t $$;
-- 3000 batches of 100
do $$ declare t timestamptz := clock_timestamp(); begin for i in 0..2999 loop perform fill_g(i*100+1, i*100+100); end loop; raise notice 'gin insert 300k in batches of 100: %', clock_timestamp()-t; end $$;
do $$ declare t timestamptz := clock_timestamp(); begin for i in 0..2999 loop perform fill_p(i*100+1, i*100+100); end loop; raise notice 'posting insert: %', clock_timestamp()-t; end $$;
select pg_size_pretty(pg_total_relation_size('g')) g, pg_size_pretty(pg_indexes_size('g')) gi, pg_size_pretty(pg_total_relation_size('p')) p, pg_size_pretty(pg_total_relation_size('postings')) postings;
do $$ declare t timestamptz := clock_timestamp(); n bigint; begin for i in 1..200 loop select max(position) into n from g where tags @> array['course:'||i%50] and position > 299000+i; end loop; raise notice 'gin boundary hot tag, recent x200 (pending list as is): %', clock_timestamp()-t; end $$;
analyze g; analyze p; analyze postings;
do $$ declare t timestamptz := clock_timestamp(); n bigint; begin for i in 1..200 loop select max(position) into n from g where tags @> array['course:'||i%50] and position > 290000+i; end loop; raise notice 'gin boundary hot tag, after analyze x200: %', clock_timestamp()-t; end $$;
do $$ declare t timestamptz := clock_timestamp(); n bigint; begin for i in 1..200 loop select max(position) into n from postings where tag = 'course:'||i%50 and position > 290000+i; end loop; raise notice 'posting boundary hot tag x200: %', clock_timestamp()-t; end $$;
do $$ declare t timestamptz := clock_timestamp(); n bigint; begin for i in 1..200 loop select max(position) into n from g where tags @> array['course:'||i%50, 'acct:'||i] ; end loop; raise notice 'gin two tags x200: %', clock_timestamp()-t; end $$;
do $$ declare t timestamptz := clock_timestamp(); n bigint; begin for i in 1..200 loop select max(a.position) into n from postings a join postings b using (position) where a.tag = 'course:'||i%50 and b.tag='acct:'||i ; end loop; raise notice 'posting two tags x200: %', clock_timestamp()-t; end $$;
do $$ declare t timestamptz := clock_timestamp(); n bigint; begin for i in 1..200 loop select count(*) into n from (select position from g where tags @> array['course:'||i%50] and position > i*100 order by position limit 100) x; end loop; raise notice 'gin page of 100 x200: %', clock_timestamp()-t; end $$;
do $$ declare t timestamptz := clock_timestamp(); n bigint; begin for i in 1..200 loop select count(*) into n from (select p.position from postings t join p using (position) where tag= 'course:'||i%50 and t.position > i*100 order by t.position limit 100) x; end loop; raise notice 'posting page of 100 x200: %', clock_timestamp()-t; end $$;
drop table g,p,postings; drop function fill_g, fill_p;
