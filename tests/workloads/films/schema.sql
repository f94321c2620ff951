-- Films, people, companies and what is said of them, in the manner of the Join Order Benchmark: many tables around one, with
-- foreign keys, skew (a few films have most of the credits) and columns that depend on each other. {scale} 1: 10,000 films,
-- 200,000 credits. `viewing` is partitioned by month.
SET max_parallel_workers_per_gather = 0;
SET client_min_messages = warning;
CREATE FUNCTION pick(n double precision) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT floor(random() * n)::int';
-- Small numbers come often: half of all picks are of the first quarter.
CREATE FUNCTION skewed(n double precision) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT floor(n * power(random(), 2))::int';
SELECT setseed(0.5);

CREATE TABLE film_kind (id int PRIMARY KEY, kind text NOT NULL);
INSERT INTO film_kind SELECT n, kind FROM unnest(ARRAY['feature', 'series', 'episode', 'short', 'documentary', 'video', 'game'])
  WITH ORDINALITY AS k(kind, n);
CREATE TABLE info_kind (id int PRIMARY KEY, info text NOT NULL);
INSERT INTO info_kind SELECT n, coalesce((ARRAY['genres', 'languages', 'countries', 'runtimes', 'budget', 'release', 'rating',
  'votes', 'rank'])[n], 'kind ' || n) FROM generate_series(1, 40) n;
CREATE TABLE role (id int PRIMARY KEY, role text NOT NULL);
INSERT INTO role SELECT n, role FROM unnest(ARRAY['actor', 'actress', 'producer', 'writer', 'camera', 'composer', 'director', 'editor',
  'guest']) WITH ORDINALITY AS r(role, n);
CREATE TABLE company_kind (id int PRIMARY KEY, kind text NOT NULL);
INSERT INTO company_kind VALUES (1, 'production'), (2, 'distribution'), (3, 'effects'), (4, 'other');
CREATE TABLE link_kind (id int PRIMARY KEY, link text NOT NULL);
INSERT INTO link_kind SELECT n, link FROM unnest(ARRAY['follows', 'followed by', 'remake of', 'refers to', 'version of'])
  WITH ORDINALITY AS l(link, n);

CREATE TABLE film (id int PRIMARY KEY, title text NOT NULL, kind_id int NOT NULL, year int, episode_of int);
INSERT INTO film SELECT n, 'Film ' || md5(n::text), 1 + skewed(7), CASE WHEN random() < 0.97 THEN 2020 - skewed(100) END,
  CASE WHEN random() < 0.2 THEN 1 + skewed(n) END FROM generate_series(1, (10000 * {scale})::int) n;
CREATE TABLE person (id int PRIMARY KEY, name text NOT NULL, gender char(1), born int);
INSERT INTO person SELECT n, initcap(left(md5(n::text), 6)) || ', ' || initcap(left(md5((-n)::text), 5)),
  (ARRAY['m', 'f', NULL])[1 + pick(3)], 1900 + pick(100) FROM generate_series(1, (20000 * {scale})::int) n;
CREATE TABLE character (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO character SELECT n, CASE WHEN n % 500 = 1 THEN 'Queen ' ELSE 'A ' END || left(md5(n::text), 8)
  FROM generate_series(1, (15000 * {scale})::int) n;
CREATE TABLE company (id int PRIMARY KEY, name text NOT NULL, country text);
INSERT INTO company SELECT n, 'Company ' || left(md5(n::text), 10), (ARRAY['[us]', '[gb]', '[de]', '[fr]', '[jp]', '[in]', '[ch]',
  NULL])[1 + skewed(8)] FROM generate_series(1, (2000 * {scale})::int) n;
CREATE TABLE keyword (id int PRIMARY KEY, keyword text NOT NULL);
INSERT INTO keyword SELECT n, coalesce((ARRAY['sequel', 'murder', 'love', 'revenge', 'hero', 'based-on-novel'])[n], 'k-' || left(md5(n::text), 7))
  FROM generate_series(1, (3000 * {scale})::int) n;

CREATE TABLE credit (id int PRIMARY KEY, film_id int NOT NULL, person_id int NOT NULL,
  character_id int, role_id int NOT NULL, note text);
INSERT INTO credit SELECT n, 1 + skewed(10000 * {scale}), 1 + skewed(20000 * {scale}),
  CASE WHEN random() < 0.6 THEN 1 + pick(15000 * {scale}) END, 1 + skewed(9),
  CASE WHEN random() < 0.3 THEN (ARRAY['(voice)', '(uncredited)', '(producer)'])[1 + pick(3)] END
  FROM generate_series(1, (200000 * {scale})::int) n;
CREATE TABLE film_company (id int PRIMARY KEY, film_id int NOT NULL, company_id int NOT NULL,
  kind_id int NOT NULL, note text);
INSERT INTO film_company SELECT n, 1 + skewed(10000 * {scale}), 1 + skewed(2000 * {scale}), 1 + skewed(4),
  CASE WHEN random() < 0.5 THEN (ARRAY['(co-production)', '(presents)', '(worldwide)', '(TV)'])[1 + pick(4)] END
  FROM generate_series(1, (26000 * {scale})::int) n;
CREATE TABLE film_info (id int PRIMARY KEY, film_id int NOT NULL, kind_id int NOT NULL,
  info text NOT NULL);
INSERT INTO film_info SELECT n, 1 + pick(10000 * {scale}), kind, CASE kind
    WHEN 1 THEN (ARRAY['Drama', 'Comedy', 'Horror', 'Action', 'Thriller'])[1 + skewed(5)]
    WHEN 2 THEN (ARRAY['English', 'German', 'French', 'Japanese'])[1 + skewed(4)]
    WHEN 3 THEN (ARRAY['USA', 'UK', 'Germany', 'Sweden', 'Denmark'])[1 + skewed(5)]
    ELSE left(md5(n::text), 6 + pick(20)) END
  FROM (SELECT n, 1 + skewed(40) AS kind FROM generate_series(1, (120000 * {scale})::int) n) i;
CREATE TABLE film_score (id int PRIMARY KEY, film_id int NOT NULL, kind_id int NOT NULL,
  score numeric NOT NULL);
INSERT INTO film_score SELECT n, 1 + pick(10000 * {scale}), 7 + n % 3, CASE WHEN n % 3 = 0 THEN round((random() * 9 + 1)::numeric, 1)
  ELSE skewed(100000) END FROM generate_series(1, (14000 * {scale})::int) n;
CREATE TABLE film_keyword (id int PRIMARY KEY, film_id int NOT NULL, keyword_id int NOT NULL);
INSERT INTO film_keyword SELECT n, 1 + skewed(10000 * {scale}), 1 + skewed(3000 * {scale}) FROM generate_series(1, (45000 * {scale})::int) n;
CREATE TABLE film_link (id int PRIMARY KEY, film_id int NOT NULL, linked_id int NOT NULL,
  kind_id int NOT NULL);
INSERT INTO film_link SELECT n, 1 + skewed(10000 * {scale}), 1 + pick(10000 * {scale}), 1 + pick(5) FROM generate_series(1, (3000 * {scale})::int) n;
CREATE TABLE alias (id int PRIMARY KEY, person_id int NOT NULL, name text NOT NULL);
INSERT INTO alias SELECT n, 1 + skewed(20000 * {scale}), left(md5(n::text), 12) FROM generate_series(1, (9000 * {scale})::int) n;
CREATE TABLE person_info (id int PRIMARY KEY, person_id int NOT NULL, kind_id int NOT NULL,
  info text NOT NULL);
INSERT INTO person_info SELECT n, 1 + skewed(20000 * {scale}), 10 + pick(30), md5(n::text) FROM generate_series(1, (30000 * {scale})::int) n;

CREATE TABLE viewing (film_id int NOT NULL, viewer int NOT NULL, at date NOT NULL, minutes int NOT NULL) PARTITION BY RANGE (at);
DO $$ BEGIN
  FOR month IN 1..12 LOOP
    EXECUTE format('CREATE TABLE viewing_%s PARTITION OF viewing FOR VALUES FROM (%L) TO (%L)', month,
      make_date(2024, month, 1), make_date(2024, month, 1) + interval '1 month');
  END LOOP;
END $$;
INSERT INTO viewing SELECT 1 + skewed(10000 * {scale}), pick(5000), date '2024-01-01' + pick(366), pick(180)
  FROM generate_series(1, (120000 * {scale})::int) n;

CREATE INDEX film_by_kind ON film (kind_id);
CREATE INDEX credit_film ON credit (film_id);
CREATE INDEX credit_person ON credit (person_id);
CREATE INDEX credit_character ON credit (character_id);
CREATE INDEX film_company_film ON film_company (film_id);
CREATE INDEX film_company_company ON film_company (company_id);
CREATE INDEX film_info_film ON film_info (film_id);
CREATE INDEX film_score_film ON film_score (film_id);
CREATE INDEX film_keyword_film ON film_keyword (film_id);
CREATE INDEX film_keyword_keyword ON film_keyword (keyword_id);
CREATE INDEX film_link_film ON film_link (film_id);
CREATE INDEX film_link_linked ON film_link (linked_id);
CREATE INDEX alias_person ON alias (person_id);
CREATE INDEX person_info_person ON person_info (person_id);
ALTER TABLE film ADD FOREIGN KEY (kind_id) REFERENCES film_kind;
ALTER TABLE credit ADD FOREIGN KEY (film_id) REFERENCES film, ADD FOREIGN KEY (person_id) REFERENCES person, ADD FOREIGN KEY (character_id) REFERENCES character, ADD FOREIGN KEY (role_id) REFERENCES role;
ALTER TABLE film_company ADD FOREIGN KEY (film_id) REFERENCES film, ADD FOREIGN KEY (company_id) REFERENCES company, ADD FOREIGN KEY (kind_id) REFERENCES company_kind;
ALTER TABLE film_info ADD FOREIGN KEY (film_id) REFERENCES film, ADD FOREIGN KEY (kind_id) REFERENCES info_kind;
ALTER TABLE film_score ADD FOREIGN KEY (film_id) REFERENCES film, ADD FOREIGN KEY (kind_id) REFERENCES info_kind;
ALTER TABLE film_keyword ADD FOREIGN KEY (film_id) REFERENCES film, ADD FOREIGN KEY (keyword_id) REFERENCES keyword;
ALTER TABLE film_link ADD FOREIGN KEY (film_id) REFERENCES film, ADD FOREIGN KEY (linked_id) REFERENCES film, ADD FOREIGN KEY (kind_id) REFERENCES link_kind;
ALTER TABLE alias ADD FOREIGN KEY (person_id) REFERENCES person;
ALTER TABLE person_info ADD FOREIGN KEY (person_id) REFERENCES person, ADD FOREIGN KEY (kind_id) REFERENCES info_kind;
ANALYZE;
