-- The 22 questions of TPC-H, asked in our own words of our own data. `-- name` begins each.
-- q1
SELECT l_returnflag, l_linestatus, sum(l_quantity) AS quantity, sum(l_extendedprice) AS gross,
  sum(l_extendedprice * (1 - l_discount)) AS net, sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS charged,
  avg(l_quantity) AS mean_quantity, avg(l_extendedprice) AS mean_price, avg(l_discount) AS mean_discount, count(*) AS lines
FROM lineitem WHERE l_shipdate <= date '1998-12-01' - interval '87 days'
GROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus
-- q2
SELECT s_acctbal, s_name, n_name, p_partkey, p_mfgr, s_address, s_phone, s_comment
FROM part JOIN partsupp ON ps_partkey = p_partkey JOIN supplier ON s_suppkey = ps_suppkey
  JOIN nation ON n_nationkey = s_nationkey JOIN region ON r_regionkey = n_regionkey
WHERE p_size = 21 AND p_type LIKE '%STEEL' AND r_name = 'EUROPE'
  AND ps_supplycost = (SELECT min(ps.ps_supplycost) FROM partsupp ps JOIN supplier s ON s.s_suppkey = ps.ps_suppkey
    JOIN nation n ON n.n_nationkey = s.s_nationkey JOIN region r ON r.r_regionkey = n.n_regionkey
    WHERE ps.ps_partkey = part.p_partkey AND r.r_name = 'EUROPE')
ORDER BY s_acctbal DESC, n_name, s_name, p_partkey LIMIT 100
-- q3
SELECT l_orderkey, sum(l_extendedprice * (1 - l_discount)) AS revenue, o_orderdate, o_shippriority
FROM customer JOIN orders ON o_custkey = c_custkey JOIN lineitem ON l_orderkey = o_orderkey
WHERE c_mktsegment = 'FURNITURE' AND o_orderdate < date '1995-03-11' AND l_shipdate > date '1995-03-11'
GROUP BY l_orderkey, o_orderdate, o_shippriority ORDER BY revenue DESC, o_orderdate LIMIT 10
-- q4
SELECT o_orderpriority, count(*) AS late FROM orders
WHERE o_orderdate >= date '1994-04-01' AND o_orderdate < date '1994-07-01'
  AND EXISTS (SELECT 1 FROM lineitem WHERE l_orderkey = o_orderkey AND l_commitdate < l_receiptdate)
GROUP BY o_orderpriority ORDER BY o_orderpriority
-- q5
SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue
FROM customer JOIN orders ON o_custkey = c_custkey JOIN lineitem ON l_orderkey = o_orderkey
  JOIN supplier ON s_suppkey = l_suppkey AND s_nationkey = c_nationkey
  JOIN nation ON n_nationkey = s_nationkey JOIN region ON r_regionkey = n_regionkey
WHERE r_name = 'AMERICA' AND o_orderdate >= date '1995-01-01' AND o_orderdate < date '1996-01-01'
GROUP BY n_name ORDER BY revenue DESC
-- q6
SELECT sum(l_extendedprice * l_discount) AS gained FROM lineitem
WHERE l_shipdate >= date '1995-01-01' AND l_shipdate < date '1996-01-01'
  AND l_discount BETWEEN 0.04 AND 0.06 AND l_quantity < 25
-- q7
SELECT seller, buyer, year, sum(volume) AS revenue
FROM (SELECT n1.n_name AS seller, n2.n_name AS buyer, extract(year FROM l_shipdate) AS year, l_extendedprice * (1 - l_discount) AS volume
  FROM supplier JOIN lineitem ON l_suppkey = s_suppkey JOIN orders ON o_orderkey = l_orderkey JOIN customer ON c_custkey = o_custkey
    JOIN nation n1 ON n1.n_nationkey = s_nationkey JOIN nation n2 ON n2.n_nationkey = c_nationkey
  WHERE ((n1.n_name = 'PERU' AND n2.n_name = 'KENYA') OR (n1.n_name = 'KENYA' AND n2.n_name = 'PERU'))
    AND l_shipdate BETWEEN date '1995-01-01' AND date '1996-12-31') AS shipping
GROUP BY seller, buyer, year ORDER BY seller, buyer, year
-- q8
SELECT year, sum(CASE WHEN nation = 'CHINA' THEN volume ELSE 0 END) / sum(volume) AS share
FROM (SELECT extract(year FROM o_orderdate) AS year, l_extendedprice * (1 - l_discount) AS volume, n2.n_name AS nation
  FROM part JOIN lineitem ON l_partkey = p_partkey JOIN supplier ON s_suppkey = l_suppkey JOIN orders ON o_orderkey = l_orderkey
    JOIN customer ON c_custkey = o_custkey JOIN nation n1 ON n1.n_nationkey = c_nationkey
    JOIN nation n2 ON n2.n_nationkey = s_nationkey JOIN region ON r_regionkey = n1.n_regionkey
  WHERE r_name = 'ASIA' AND o_orderdate BETWEEN date '1995-01-01' AND date '1996-12-31' AND p_type = 'SMALL PLATED TIN') AS sales
GROUP BY year ORDER BY year
-- q9
SELECT nation, year, sum(amount) AS profit
FROM (SELECT n_name AS nation, extract(year FROM o_orderdate) AS year,
    l_extendedprice * (1 - l_discount) - ps_supplycost * l_quantity AS amount
  FROM part JOIN lineitem ON l_partkey = p_partkey JOIN partsupp ON ps_partkey = l_partkey AND ps_suppkey = l_suppkey
    JOIN supplier ON s_suppkey = l_suppkey JOIN orders ON o_orderkey = l_orderkey JOIN nation ON n_nationkey = s_nationkey
  WHERE p_name LIKE '%indigo%') AS profits
GROUP BY nation, year ORDER BY nation, year DESC
-- q10
SELECT c_custkey, c_name, sum(l_extendedprice * (1 - l_discount)) AS lost, c_acctbal, n_name, c_address, c_phone, c_comment
FROM customer JOIN orders ON o_custkey = c_custkey JOIN lineitem ON l_orderkey = o_orderkey JOIN nation ON n_nationkey = c_nationkey
WHERE o_orderdate >= date '1993-07-01' AND o_orderdate < date '1993-10-01' AND l_returnflag = 'R'
GROUP BY c_custkey, c_name, c_acctbal, c_phone, n_name, c_address, c_comment ORDER BY lost DESC LIMIT 20
-- q11
SELECT ps_partkey, sum(ps_supplycost * ps_availqty) AS value
FROM partsupp JOIN supplier ON s_suppkey = ps_suppkey JOIN nation ON n_nationkey = s_nationkey WHERE n_name = 'JAPAN'
GROUP BY ps_partkey HAVING sum(ps_supplycost * ps_availqty) > (SELECT sum(ps_supplycost * ps_availqty) * 0.0001
  FROM partsupp JOIN supplier ON s_suppkey = ps_suppkey JOIN nation ON n_nationkey = s_nationkey WHERE n_name = 'JAPAN')
ORDER BY value DESC
-- q12
SELECT l_shipmode, sum(CASE WHEN o_orderpriority IN ('1-URGENT', '2-HIGH') THEN 1 ELSE 0 END) AS high,
  sum(CASE WHEN o_orderpriority NOT IN ('1-URGENT', '2-HIGH') THEN 1 ELSE 0 END) AS low
FROM orders JOIN lineitem ON l_orderkey = o_orderkey
WHERE l_shipmode IN ('RAIL', 'FOB') AND l_commitdate < l_receiptdate AND l_shipdate < l_commitdate
  AND l_receiptdate >= date '1996-01-01' AND l_receiptdate < date '1997-01-01'
GROUP BY l_shipmode ORDER BY l_shipmode
-- q13
SELECT orders, count(*) AS customers
FROM (SELECT c_custkey, count(o_orderkey) AS orders FROM customer
  LEFT JOIN orders ON o_custkey = c_custkey AND o_comment NOT LIKE '%special%requests%' GROUP BY c_custkey) AS c
GROUP BY orders ORDER BY customers DESC, orders DESC
-- q14
SELECT 100.00 * sum(CASE WHEN p_type LIKE 'PROMO%' THEN l_extendedprice * (1 - l_discount) ELSE 0 END)
  / sum(l_extendedprice * (1 - l_discount)) AS promoted
FROM lineitem JOIN part ON p_partkey = l_partkey WHERE l_shipdate >= date '1996-03-01' AND l_shipdate < date '1996-04-01'
-- q15
WITH revenue AS (SELECT l_suppkey AS supplier, sum(l_extendedprice * (1 - l_discount)) AS total FROM lineitem
  WHERE l_shipdate >= date '1996-05-01' AND l_shipdate < date '1996-08-01' GROUP BY l_suppkey)
SELECT s_suppkey, s_name, s_address, s_phone, total FROM supplier JOIN revenue ON supplier = s_suppkey
WHERE total = (SELECT max(total) FROM revenue) ORDER BY s_suppkey
-- q16
SELECT p_brand, p_type, p_size, count(DISTINCT ps_suppkey) AS suppliers
FROM partsupp JOIN part ON p_partkey = ps_partkey
WHERE p_brand <> 'Brand#33' AND p_type NOT LIKE 'LARGE BRUSHED%' AND p_size IN (5, 11, 17, 22, 29, 33, 41, 47)
  AND ps_suppkey NOT IN (SELECT s_suppkey FROM supplier WHERE s_comment LIKE '%Customer%Complaints%')
GROUP BY p_brand, p_type, p_size ORDER BY suppliers DESC, p_brand, p_type, p_size
-- q17
SELECT sum(l_extendedprice) / 7.0 AS yearly FROM lineitem JOIN part ON p_partkey = l_partkey
WHERE p_brand = 'Brand#14' AND p_container = 'JUMBO BAG'
  AND l_quantity < (SELECT 0.2 * avg(l.l_quantity) FROM lineitem l WHERE l.l_partkey = part.p_partkey)
-- q18
SELECT c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice, sum(l_quantity) AS quantity
FROM customer JOIN orders ON o_custkey = c_custkey JOIN lineitem ON l_orderkey = o_orderkey
WHERE o_orderkey IN (SELECT l_orderkey FROM lineitem GROUP BY l_orderkey HAVING sum(l_quantity) > 290)
GROUP BY c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice ORDER BY o_totalprice DESC, o_orderdate LIMIT 100
-- q19
SELECT sum(l_extendedprice * (1 - l_discount)) AS revenue FROM lineitem JOIN part ON p_partkey = l_partkey
WHERE l_shipmode IN ('AIR', 'REG AIR') AND l_shipinstruct = 'DELIVER IN PERSON' AND (
  (p_brand = 'Brand#21' AND p_container IN ('SM CASE', 'SM BOX', 'SM PACK', 'SM PKG') AND l_quantity BETWEEN 4 AND 14 AND p_size BETWEEN 1 AND 5)
  OR (p_brand = 'Brand#35' AND p_container IN ('MED BAG', 'MED BOX', 'MED PKG', 'MED PACK') AND l_quantity BETWEEN 15 AND 25 AND p_size BETWEEN 1 AND 10)
  OR (p_brand = 'Brand#42' AND p_container IN ('LG CASE', 'LG BOX', 'LG PACK', 'LG PKG') AND l_quantity BETWEEN 26 AND 36 AND p_size BETWEEN 1 AND 15))
-- q20
SELECT s_name, s_address FROM supplier JOIN nation ON n_nationkey = s_nationkey
WHERE n_name = 'ROMANIA' AND s_suppkey IN (SELECT ps_suppkey FROM partsupp
  WHERE ps_partkey IN (SELECT p_partkey FROM part WHERE p_name LIKE 'coral%')
    AND ps_availqty > (SELECT 0.5 * sum(l_quantity) FROM lineitem WHERE l_partkey = ps_partkey AND l_suppkey = ps_suppkey
      AND l_shipdate >= date '1995-01-01' AND l_shipdate < date '1996-01-01'))
ORDER BY s_name
-- q21
SELECT s_name, count(*) AS waits FROM supplier JOIN lineitem l1 ON l1.l_suppkey = s_suppkey
  JOIN orders ON o_orderkey = l1.l_orderkey JOIN nation ON n_nationkey = s_nationkey
WHERE o_orderstatus = 'F' AND l1.l_receiptdate > l1.l_commitdate AND n_name = 'EGYPT'
  AND EXISTS (SELECT 1 FROM lineitem l2 WHERE l2.l_orderkey = l1.l_orderkey AND l2.l_suppkey <> l1.l_suppkey)
  AND NOT EXISTS (SELECT 1 FROM lineitem l3 WHERE l3.l_orderkey = l1.l_orderkey AND l3.l_suppkey <> l1.l_suppkey
    AND l3.l_receiptdate > l3.l_commitdate)
GROUP BY s_name ORDER BY waits DESC, s_name LIMIT 100
-- q22
SELECT code, count(*) AS customers, sum(c_acctbal) AS balance
FROM (SELECT substring(c_phone FROM 1 FOR 2) AS code, c_acctbal FROM customer
  WHERE substring(c_phone FROM 1 FOR 2) IN ('11', '14', '19', '22', '25', '30', '33')
    AND c_acctbal > (SELECT avg(c_acctbal) FROM customer WHERE c_acctbal > 0.00
      AND substring(c_phone FROM 1 FOR 2) IN ('11', '14', '19', '22', '25', '30', '33'))
    AND NOT EXISTS (SELECT 1 FROM orders WHERE o_custkey = c_custkey)) AS sleepers
GROUP BY code ORDER BY code
