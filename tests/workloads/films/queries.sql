-- Joins over the films, in the manner of the Join Order Benchmark. `-- name` begins each.
-- j1
SELECT min(c.note) AS note, min(f.title) AS title, min(f.year) AS year
FROM company_kind k, info_kind i, film_company c, film_score s, film f
WHERE k.kind = 'production' AND i.info = 'rank' AND c.note NOT LIKE '%(TV)%' AND s.score < 2
  AND k.id = c.kind_id AND f.id = c.film_id AND f.id = s.film_id AND i.id = s.kind_id
-- j2
SELECT min(f.title) FROM company c, film_company fc, film f, film_keyword fk, keyword k
WHERE c.country = '[ch]' AND k.keyword = 'hero' AND c.id = fc.company_id AND fc.film_id = f.id AND f.id = fk.film_id AND fk.keyword_id = k.id
-- j3
SELECT min(f.title) FROM keyword k, film_info i, film_keyword fk, film f
WHERE k.keyword LIKE '%sequel%' AND i.info IN ('Sweden', 'Denmark', 'Germany') AND f.year > 2005
  AND f.id = i.film_id AND f.id = fk.film_id AND k.id = fk.keyword_id
-- j4
SELECT min(s.score), min(f.title) FROM info_kind i, film_score s, film f, keyword k, film_keyword fk
WHERE i.info = 'rating' AND s.score > 9 AND k.keyword = 'sequel' AND f.year > 1990
  AND f.id = s.film_id AND f.id = fk.film_id AND k.id = fk.keyword_id AND i.id = s.kind_id
-- j5
SELECT min(f.title) FROM film f JOIN film_info i ON i.film_id = f.id JOIN film_company c ON c.film_id = f.id
  JOIN company_kind k ON k.id = c.kind_id JOIN info_kind ik ON ik.id = i.kind_id
WHERE k.kind = 'production' AND c.note LIKE '%(presents)%' AND i.info IN ('French', 'German') AND f.year BETWEEN 1990 AND 1995
-- j6
SELECT min(k.keyword), min(p.name), min(f.title) FROM credit c, keyword k, film_keyword fk, person p, film f
WHERE k.keyword = 'revenge' AND p.name LIKE 'A%' AND f.year > 2000
  AND k.id = fk.keyword_id AND f.id = fk.film_id AND f.id = c.film_id AND p.id = c.person_id
-- j7
SELECT min(p.name), min(f.title) FROM alias a, credit c, info_kind i, link_kind l, film_link fl, person p, person_info pi, film f
WHERE a.name LIKE '%a%' AND l.link = 'refers to' AND p.gender = 'm' AND f.year BETWEEN 1980 AND 2010
  AND p.id = a.person_id AND p.id = pi.person_id AND c.person_id = p.id AND f.id = c.film_id AND fl.linked_id = f.id
  AND l.id = fl.kind_id AND i.id = pi.kind_id
-- j8
SELECT min(p.name), min(f.title) FROM credit c JOIN person p ON p.id = c.person_id JOIN film f ON f.id = c.film_id
  JOIN film_company fc ON fc.film_id = f.id JOIN company co ON co.id = fc.company_id JOIN role r ON r.id = c.role_id
WHERE c.note = '(voice)' AND co.country = '[jp]' AND r.role = 'actress'
-- j9
SELECT min(ch.name), min(p.name) FROM character ch, credit c, person p, role r, film f
WHERE ch.name LIKE 'Queen%' AND p.gender = 'f' AND r.role IN ('actor', 'actress') AND f.year > 2010
  AND ch.id = c.character_id AND p.id = c.person_id AND r.id = c.role_id AND f.id = c.film_id
-- j10
SELECT k.kind, r.role, count(*) FROM credit c JOIN role r ON r.id = c.role_id JOIN film f ON f.id = c.film_id
  JOIN film_kind k ON k.id = f.kind_id GROUP BY k.kind, r.role ORDER BY count(*) DESC
-- j11
SELECT min(co.name), min(l.link), min(f.title) FROM company co, company_kind ck, keyword k, link_kind l, film_company fc,
  film_keyword fk, film_link fl, film f
WHERE co.country <> '[us]' AND ck.kind = 'distribution' AND k.keyword = 'sequel' AND l.link LIKE '%follow%'
  AND l.id = fl.kind_id AND fl.film_id = f.id AND f.id = fk.film_id AND fk.keyword_id = k.id AND f.id = fc.film_id
  AND fc.kind_id = ck.id AND fc.company_id = co.id
-- j12
SELECT f.id, f.title, i.info FROM film f JOIN film_info i ON i.film_id = f.id WHERE i.info = 'Horror' ORDER BY f.title LIMIT 20
-- j13
SELECT p.id, p.name, count(*) FROM person p JOIN credit c ON c.person_id = p.id GROUP BY p.id, p.name ORDER BY p.name
-- j14
SELECT a.title, b.title FROM film a, film b WHERE a.year = 1950 AND b.kind_id = 7
-- j15
SELECT a.id, b.id FROM film a JOIN film b ON b.year - a.year > 90
-- j16
SELECT film_id, sum(minutes) FROM viewing WHERE viewer = 7 GROUP BY film_id
-- j17
SELECT film_id, sum(minutes) FROM viewing WHERE at >= date '2024-03-05' AND at < date '2024-04-10' AND viewer = 7 GROUP BY film_id
-- j18
SELECT f.title FROM film f WHERE f.id = 4711
-- j19
SELECT c.id FROM credit c WHERE c.person_id = 77 AND c.note = '(voice)'
