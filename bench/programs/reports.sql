\set low random(1, 150000)
SELECT bid, count(*), sum(abalance), length(string_agg(aid::text, ',' ORDER BY aid DESC))
  FROM pgbench_accounts WHERE aid BETWEEN :low AND :low + 5000 GROUP BY bid;
SELECT length(json_agg(t)::text) FROM (SELECT aid % 1000 AS part, md5(aid::text) AS name,
  count(*) AS n FROM pgbench_accounts WHERE aid BETWEEN :low AND :low + 5000
  GROUP BY 1, 2 ORDER BY 3, 2) t;
