-- The named questions (`MetadataIndex.ask`). A block begins with its name between dashes.

-- runs --
-- The newest runs first. :pipeline, :state (null: any), :limit
select * from runs
where (:pipeline is null or pipeline = :pipeline) and (:state is null or state = :state)
order by no desc limit :limit

-- runs_before --
-- The runs of a pipeline before one, the newest first. :pipeline, :before (run.no), :limit
select no, id from run where pipeline = :pipeline and no < :before order by no desc limit :limit

-- codes --
-- Definitions of code. :codes (JSON array of hex)
select * from code where lower(hex(id)) in (select value from json_each(:codes))

-- runs_like --
-- Runs whose id lies in a range (a shortened id). :low, :high
select * from runs where id between :low and :high order by no desc limit 20

-- step_counts --
-- How many invocations each of these runs has. :runs (JSON array of run.no)
select s.run, count(*) as steps from step s where s.run in (select value from json_each(:runs)) group by s.run

-- steps_of --
-- The invocations of these runs, in the order of the log, and the first output of each. :runs (JSON array of run.no)
select
  v.no, s.run as run_no, v.run, v.step, v.scope, s.invocation, v.state, v.params, v.attempt, v.ready, v.started, v.ended,
  v.cached_from, u.origin, i.invocation as made_by, o.cache_key, k.code, v.fan, v.elements, v.elements_done, v.elements_cached,
  v.elements_failed, v.elements_skipped, v.because, v.error, v.location, v.traceback,
  f.outputs, m.digest, m.size, f.format, f.type, f.inline, m.position, m.ended as made
from step s
join steps v on v.no = s.no
join call k on k.id = s.call
left join outcome o on o.step = s.no
left join reuse u on u.step = s.no
left join step i on i.no = coalesce(u.origin, s.no)
left join outcome m on m.step = i.no
left join form f on f.id = m.form
where s.run in (select value from json_each(:runs))
order by s.no

-- outputs_of --
-- Outputs after the first, of the invocations of these runs. :runs (JSON array of run.no)
select s.no, p.output, p.digest, p.size, p.format, p.type, p.inline
from step s left join reuse u on u.step = s.no join output p on p.step = coalesce(u.origin, s.no)
where s.run in (select value from json_each(:runs))
order by s.no, p.output

-- inputs_of --
-- Which outputs the invocations of these runs took. :runs (JSON array of run.no)
select s.no, u.argument, u.source, u.output, u.element
from step s join use u on u.consumer = s.no
where s.run in (select value from json_each(:runs))
order by s.no, u.argument

-- readings_of --
-- Which files the invocations of these runs took. :runs (JSON array of run.no)
select s.no, d.argument, d.file, f.path, f.digest, f.size
from step s join reading d on d.step = s.no join file f on f.id = d.file
where s.run in (select value from json_each(:runs))
order by s.no, d.argument

-- artifacts_like --
-- Artifacts of executed invocations whose name, and whose run's id, lie in a range; the newest first.
-- :low, :high, :output, :run_low, :run_high
select
  s.no, r.id as run, k.step, s.invocation, :output as output, k.fan, o.position, o.ended as made,
  iif(:output = 0, o.digest, p.digest) as digest, iif(:output = 0, o.size, p.size) as size,
  iif(:output = 0, f.format, p.format) as format, iif(:output = 0, f.type, p.type) as type,
  iif(:output = 0, f.inline, p.inline) as inline, 'made' as kind
from run r
cross join step s on s.run = r.no and s.invocation between :low and :high
join call k on k.id = s.call
join outcome o on o.step = s.no
join form f on f.id = o.form
left join output p on p.step = s.no and p.output = :output
where r.id between :run_low and :run_high and s.no not in (select step from reuse) and (:output = 0 or p.output is not null)
order by r.no desc, s.no limit 200

-- files_like --
-- Versions of files whose id lies in a range. :low, :high
select id, path, digest, size, 'made' as kind from file where id between :low and :high order by id limit 20

-- files_at --
-- Versions of files by path. :path
select f.id, f.path, f.digest, f.size, f.mtime_ns,
  (select max(a.no) from arrival a where a.path = f.path and a.file = f.id) as arrived,
  (select max(a.version) from arrival a where a.path = f.path and a.file = f.id) as version,
  (select max(d.step) from reading d where d.file = f.id) as used
from file f where f.path = :path
order by arrived is null, arrived desc, used desc

-- paths_ending --
-- Paths that end in this one. :tail ("/jan.csv")
select distinct path from file where substr(path, -length(:tail)) = :tail order by path limit 20

-- readers --
-- The invocations that took any version of a file as an argument, the newest first. :path
select v.no, v.run, v.pipeline, v.step, v.invocation, v.state, d.argument, f.digest
from file f
join reading d on d.file = f.id
join steps v on v.no = d.step
where f.path = :path
order by v.no desc

-- given_to --
-- The runs that were started with any version of a file. :path
select distinct r.id from file f join given g on g.file = f.id join run r on r.no = g.run where f.path = :path order by r.no desc

-- ancestors --
-- Every artifact that this one came from, the newest first. Follows reuse to where a result was made; with a run, follows what
-- that run gave to its own invocations instead. :step (step.no), :run (run.no or null)
with recursive
up (step) as (
  select no from step where no = :step and :run is null
  union
  select s.no from step s left join reuse u on u.step = s.no where s.run = :run and (s.no = :step or u.origin = :step)
  union
  select u.source from up join use u on u.consumer = up.step
  union
  select a.source from up join made_of m on m.consumer = up.step join awaited a on a.body = m.body and a.place < m.given
  union
  select u.origin from up join reuse u on u.step = up.step where :run is null
),
used (no, output, made) as (
  select coalesce(q.origin, u.source), u.output, c.step is null
  from up
  join use u on u.consumer = up.step
  left join reuse q on q.step = u.source
  left join reuse c on c.step = up.step
  union all
  select coalesce(q.origin, a.source), a.output, -1
  from up
  join made_of m on m.consumer = up.step
  join awaited a on a.body = m.body and a.place < m.given
  left join reuse q on q.step = a.source
)
select s.no, r.id as run, k.step, s.invocation, 0 as output, k.fan, o.position, o.ended as made,
  o.digest, o.size, f.format, f.type, f.inline, case max(x.made) when 1 then 'made' when 0 then 'reused' else 'flagged' end as kind
from used x
join step s on s.no = x.no
join call k on k.id = s.call
join run r on r.no = s.run
join outcome o on o.step = s.no
join form f on f.id = o.form
where x.output in (0, -1) and s.no <> :step
group by s.no
union all
select s.no, r.id, k.step, s.invocation, p.output, k.fan, o.position, o.ended,
  p.digest, p.size, p.format, p.type, p.inline, case max(x.made) when 1 then 'made' when 0 then 'reused' else 'flagged' end
from used x
join step s on s.no = x.no
join call k on k.id = s.call
join run r on r.no = s.run
join outcome o on o.step = s.no
join form f on f.id = o.form
join output p on p.step = s.no
where x.output in (p.output, -1) and s.no <> :step
group by s.no, p.output
order by 1 desc, 5

-- ancestor_files --
-- Every file that an artifact came from, as `ancestors`. :step, :run
with recursive
up (step) as (
  select no from step where no = :step and :run is null
  union
  select s.no from step s left join reuse u on u.step = s.no where s.run = :run and (s.no = :step or u.origin = :step)
  union
  select u.source from up join use u on u.consumer = up.step
  union
  select a.source from up join made_of m on m.consumer = up.step join awaited a on a.body = m.body and a.place < m.given
  union
  select u.origin from up join reuse u on u.step = up.step where :run is null
)
select f.id, f.path, f.digest, f.size, iif(max(c.step is null), 'made', 'reused') as kind
from up
join reading d on d.step = up.step
join file f on f.id = d.file
left join reuse c on c.step = up.step
group by f.id
order by f.path, f.digest

-- descendants --
-- Every artifact that came from this one, or from this version of a file, the oldest first; with a run, in that run only.
-- :step (step.no) and :output, or :file (file.id); :run (run.no or null)
with recursive
holding (step) as (
  select :step where :step is not null
  union all
  select step from reuse where origin = :step
),
down (step) as (
  select d.step from reading d join step s on s.no = d.step where d.file = :file and (:run is null or s.run = :run)
  union
  select u.consumer
  from holding h
  join use u on u.source = h.step and u.output in (:output, -1)
  join step s on s.no = u.consumer
  where :run is null or s.run = :run
  union
  select m.consumer
  from holding h
  join awaited a on a.source = h.step and a.output in (:output, -1)
  join made_of m on m.body = a.body and m.given > a.place
  join step s on s.no = m.consumer
  where :run is null or s.run = :run
  union
  select u.consumer from down join use u on u.source = down.step
  union
  select m.consumer from down join awaited a on a.source = down.step join made_of m on m.body = a.body and m.given > a.place
  union
  select u.step from down join reuse u on u.origin = down.step where :run is null
),
came (no, made) as (
  select coalesce(q.origin, down.step), q.step is null from down left join reuse q on q.step = down.step
)
select s.no, r.id as run, k.step, s.invocation, 0 as output, k.fan, o.position, o.ended as made,
  o.digest, o.size, f.format, f.type, f.inline, iif(max(x.made), 'made', 'reused') as kind
from came x
join step s on s.no = x.no
join call k on k.id = s.call
join run r on r.no = s.run
join outcome o on o.step = s.no
join form f on f.id = o.form
where :step is null or s.no <> :step
group by s.no
union all
select s.no, r.id, k.step, s.invocation, p.output, k.fan, o.position, o.ended,
  p.digest, p.size, p.format, p.type, p.inline, iif(max(x.made), 'made', 'reused')
from came x
join step s on s.no = x.no
join call k on k.id = s.call
join run r on r.no = s.run
join outcome o on o.step = s.no
join form f on f.id = o.form
join output p on p.step = s.no
where :step is null or s.no <> :step
group by s.no, p.output
order by 1, 5

-- metrics_of --
-- The last value of each number of these invocations' own. :runs (JSON array of run.no)
select s.no, m.name, m.value, m.at_step, count(*) as times, max(m.position * 65536 + m.place) as newest
from step s join metric m on m.step = s.no
where s.run in (select value from json_each(:runs)) and m.element = -1
group by s.no, m.name
order by s.no, m.name
