-- The index: what the log says, as tables. Derived: dropping the file loses nothing.
--
-- Tables (singular) are the projection's and may change with its version. Views (plural) are for people and programs; their
-- columns are documented here and only grow. Times are seconds since the epoch, durations seconds, both REAL. Ids are text.

create table progress (          -- one row: how far the log is folded in
  one      integer primary key check (one = 1),
  position integer not null,
  checksum text not null
) strict;

create table owner (
  id      blob primary key,
  pid     integer not null,
  host    text not null,
  user    text not null,
  command text not null,
  at      real not null
) strict, without rowid;

create table environment (
  id         blob primary key,
  python     text not null,
  platform   text not null,
  versions   text not null,      -- JSON object: distribution -> version
  git_commit text not null
) strict, without rowid;

create table code (
  id    blob not null,
  step  text not null,
  role  text not null,
  file  text not null,
  line  integer not null,
  parts text not null,           -- JSON array of [name, value]
  doc   text not null,
  places     text not null,      -- JSON array: where each part stands, "clean.py:10-14"
  unfollowed text not null,      -- JSON array of [what, where, what to do]: a change of it is not seen
  ignored    text not null,      -- JSON array of names that do not count
  primary key (id, step)
) strict, without rowid;

create table run (
  no             integer primary key,   -- position of its first event
  id             text not null unique,
  pipeline       text not null,
  target         text not null,
  params         text not null,         -- JSON object
  owner          blob not null,
  environment    blob not null,
  key            text not null,
  parent         text not null,
  trigger        text,
  arrivals_after integer,
  arrivals_upto  integer,
  started        real not null,
  state          text not null,
  ended          real,
  cancel_asked   real,
  position       integer,               -- of its last event
  failed_step    integer,               -- step.no
  error          text,
  location       text,
  traceback      text
) strict;
create index run_pipeline on run (pipeline, no);
create index run_arrivals on run (trigger, arrivals_upto) where trigger is not null;

create table call (                     -- what many invocations have in common
  id    integer primary key,            -- a hash of the rest
  step  text not null,
  scope text not null,
  code  blob not null,
  fan   integer not null
) strict;

create table step (                     -- one row for each invocation
  no         integer primary key,       -- in the order of the log
  run        integer not null,          -- run.no
  invocation blob not null,
  call       integer not null,          -- call.id
  params     text                       -- JSON object
) strict;
create unique index step_invocation on step (run, invocation);

create table form (                     -- what many outputs have in common
  id      integer primary key,          -- a hash of the rest
  outputs integer not null,             -- how many the invocation has
  format  text,                         -- of its first output; so the rest
  type    text,
  inline  integer
) strict;

create table outcome (                  -- of an invocation that began or is settled
  step      integer primary key,        -- step.no
  state     text not null,
  attempt   integer,
  ready     real,
  started   real,
  ended     real,
  position  integer not null,           -- of the event that says so
  cache_key blob,
  form      integer,                    -- form.id, if it has outputs
  digest    blob,                       -- of its first output; so the size
  size      integer
) strict;

create table reuse (                    -- an invocation whose outputs another one made
  step   integer primary key,           -- step.no
  origin integer not null               -- step.no
) strict;
create index reuse_origin on reuse (origin);

create table fan (                      -- the elements of a fan-out
  step     integer primary key,         -- step.no
  elements integer,                     -- how many, once all are settled
  skipped  integer,                     -- how many of them failed and were left out
  done     integer not null,
  cached   integer not null,
  failed   integer not null
) strict;

create table trouble (                  -- why an invocation failed or was skipped
  step      integer primary key,        -- step.no
  because   integer,                    -- step.no
  error     text,
  location  text,
  traceback text
) strict;

create table output (                   -- a step's outputs after the first
  step   integer not null,
  output integer not null,
  digest blob,
  size   integer,
  format text,
  type   text,
  inline integer,
  primary key (step, output)
) strict, without rowid;

create table use (                      -- an argument that is an output of another invocation of the run
  consumer integer not null,            -- step.no
  argument text not null,
  source   integer not null,            -- step.no
  output   integer not null,            -- -1: all of them
  element  integer not null,            -- -1: the whole
  primary key (consumer, argument)
) strict, without rowid;
create index use_source on use (source, output);

create table awaited (                  -- a value that a body was given
  body   integer not null,              -- the run and the scope of the body, hashed
  place  integer not null,              -- from 0, in the order in which it was given them
  source integer not null,              -- step.no
  output integer not null,              -- -1: all of them
  primary key (body, place)
) strict, without rowid;
create index awaited_source on awaited (source, output);

create table made_of (                  -- an invocation with a plain argument that its body may have made of what it was given
  consumer integer primary key,         -- step.no
  body     integer not null,
  given    integer not null             -- how many values it had been given
) strict;
create index made_of_body on made_of (body, given);

create table file (                     -- a version of a file: its path and content
  id       blob primary key,
  path     text not null,
  digest   blob not null,
  size     integer not null,
  mtime_ns integer not null
) strict, without rowid;
create index file_path on file (path);

create table reading (                  -- an argument of an invocation that is a file
  step     integer not null,
  argument text not null,
  file     blob not null,
  primary key (step, argument)
) strict, without rowid;
create index reading_file on reading (file);

create table given (                    -- an argument of a run that is a file
  run      integer not null,
  argument text not null,
  file     blob not null,
  primary key (run, argument)
) strict, without rowid;
create index given_file on given (file);

create table arrival (
  no       integer primary key,         -- its position in the log
  trigger  text not null,
  path     text not null,
  version  integer,
  file     blob,
  reason   text,                        -- why it was refused
  at       real not null
) strict;
create index arrival_path on arrival (path);

create table tag (
  no         integer primary key,       -- its position in the log
  name       text not null,
  pipeline   text not null,
  step       text not null,
  run        text not null,             -- run.id
  invocation blob not null,
  output     integer not null,          -- -1: all of them
  at         real not null
) strict;
create index tag_name on tag (pipeline, step, name, no);

create table metric (
  position integer not null,     -- of the event
  place    integer not null,     -- in it
  step     integer not null,
  element  integer not null,     -- -1: of the invocation itself
  attempt  integer not null,
  name     text not null,
  at_step  integer,
  value    real,                 -- null: not a number
  at       real not null,
  primary key (position, place)
) strict, without rowid;
create index metric_step on metric (step);

-- runs: one row for each run.
--   no            its place in the order of the log
--   id            20 hex digits
--   pipeline, target, key, parent, params (JSON)
--   state         running, done, failed, cancelled
--   started, ended, took
--   error, location ("file:line"), traceback: what failed it
--   host, user, pid, command: who runs it; python, platform, versions (JSON), git_commit: on what
--   trigger, arrivals_after, arrivals_upto: the arrivals it stands for
create view runs as
select
  r.no, r.id, r.pipeline, r.target, nullif(r.key, '') as key, nullif(r.parent, '') as parent, r.params, r.state,
  r.started, r.ended, r.ended - r.started as took, r.cancel_asked,
  coalesce(r.error, c.step || ': ' || t.error) as error, coalesce(r.location, t.location) as location,
  coalesce(r.traceback, t.traceback) as traceback,
  o.host, o.user, o.pid, o.command, e.python, e.platform, e.versions, nullif(e.git_commit, '') as git_commit,
  r.trigger, r.arrivals_after, r.arrivals_upto, r.position
from run r
left join step s on s.no = r.failed_step
left join call c on c.id = s.call
left join trouble t on t.step = r.failed_step
left join owner o on o.id = r.owner
left join environment e on e.id = r.environment;

-- steps: one row for each invocation; a fan-out is one.
--   no, run (id), pipeline, step, scope, invocation (hex)
--   state         waiting, running, done, cached, failed, skipped, cancelled
--   ready, started, ended; waited = started - ready, took = ended - started
--   attempt, cached_from (run id), cached_invocation (hex), cache_key, code (hex), file, line, role, params (JSON)
--   elements, elements_done, elements_cached, elements_failed, elements_skipped: of a fan-out
--   because       the step whose failure or cancellation let it be skipped
--   error, location, traceback
create view steps as
select
  s.no, r.id as run, r.pipeline, k.step, k.scope, lower(hex(s.invocation)) as invocation,
  case
    when o.state is null then iif(r.state in ('running', 'held'), 'waiting', 'skipped')
    when o.state = 'running' and r.state not in ('running', 'held') then 'cancelled'
    else o.state
  end as state,
  o.ready, o.started, o.ended, o.started - o.ready as waited, o.ended - o.started as took, o.attempt,
  fr.id as cached_from, nullif(lower(hex(f.invocation)), '') as cached_invocation,
  nullif(lower(hex(o.cache_key)), '') as cache_key, lower(hex(k.code)) as code, c.file, c.line, c.role,
  coalesce(s.params, '{}') as params, k.fan, n.elements,
  n.done as elements_done, n.cached as elements_cached, n.failed as elements_failed, n.skipped as elements_skipped,
  bk.step as because, t.error, t.location, t.traceback, o.position
from step s
join call k on k.id = s.call
join run r on r.no = s.run
left join outcome o on o.step = s.no
left join reuse u on u.step = s.no
left join step f on f.no = u.origin
left join run fr on fr.no = f.run
left join code c on c.id = k.code and c.step = k.step
left join fan n on n.step = s.no
left join trouble t on t.step = s.no and o.state in ('failed', 'cancelled', 'skipped')
left join step b on b.no = t.because
left join call bk on bk.id = b.call;

-- artifacts: one row for each output of an executed invocation, and for each version of a file.
--   id            "<invocation>:<output>@<run>", or "file-<hex>"
--   kind          output, elements (of a fan-out: all of them), file
--   run, step, invocation, output, digest, size, format, type
--   stored        inline (in the log), blob, columns (a fan-out's), file
--   path          of a file
--   made          when (a file: when it arrived first, if it did)
create view artifacts as
select
  lower(hex(s.invocation)) || ':0@' || r.id as id, iif(k.fan, 'elements', 'output') as kind,
  r.id as run, k.step, lower(hex(s.invocation)) as invocation, 0 as output,
  'sha256-' || nullif(lower(hex(o.digest)), '') as digest, o.size, f.format, f.type,
  case when k.fan then 'columns' when f.inline then 'inline' else 'blob' end as stored, null as path, o.ended as made
from step s
join call k on k.id = s.call
join run r on r.no = s.run
join outcome o on o.step = s.no
join form f on f.id = o.form
where s.no not in (select step from reuse)
union all
select
  lower(hex(s.invocation)) || ':' || p.output || '@' || r.id, iif(k.fan, 'elements', 'output'),
  r.id, k.step, lower(hex(s.invocation)), p.output,
  'sha256-' || nullif(lower(hex(p.digest)), ''), p.size, p.format, p.type,
  case when k.fan then 'columns' when p.inline then 'inline' else 'blob' end, null, o.ended
from output p
join step s on s.no = p.step
join call k on k.id = s.call
join run r on r.no = s.run
join outcome o on o.step = s.no
join form f on f.id = o.form
where s.no not in (select step from reuse) and (p.output < f.outputs or k.fan)
union all
select
  'file-' || lower(hex(f.id)), 'file', null, null, null, null,
  'sha256-' || nullif(lower(hex(f.digest)), ''), f.size, null, null, 'file', f.path,
  (select min(a.at) from arrival a where a.path = f.path and a.file = f.id)
from file f;

-- edges: which artifact came from which. The target's invocation took the source as an argument.
--   source, target  artifact ids
--   kind            made (the target was made from it), reused (in this run the target was reused, given that source), flagged (a
--                   body had been given the source when it made an argument of the target by itself)
--   run, step, argument, element (-1: the whole)
create view edges as
with
place (step, output) as (               -- every output of every invocation that has some
  select step, 0 from outcome where form is not null
  union all
  select p.step, p.output from output p join outcome o on o.step = p.step and o.form is not null
),
took (consumer, argument, element, source, flagged) as (
  select u.consumer, u.argument, u.element, lower(hex(s.invocation)) || ':' || p.output || '@' || r.id, u.flagged
  from (
    select consumer, argument, element, source, output, 0 as flagged from use
    union all
    select m.consumer, '', -1, a.source, a.output, 1 from made_of m join awaited a on a.body = m.body and a.place < m.given
  ) u
  left join reuse q on q.step = u.source
  join place p on p.step = coalesce(q.origin, u.source) and u.output in (p.output, -1)
  join step s on s.no = p.step
  join run r on r.no = s.run
  union all
  select step, argument, -1, 'file-' || lower(hex(file)), 0 from reading
)
select
  t.source, lower(hex(m.invocation)) || ':' || p.output || '@' || mr.id as target,
  iif(t.flagged, 'flagged', iif(q.origin is null, 'made', 'reused')) as kind, r.id as run, k.step, t.argument, t.element
from took t
join step c on c.no = t.consumer
join call k on k.id = c.call
join run r on r.no = c.run
left join reuse q on q.step = c.no
join place p on p.step = coalesce(q.origin, c.no)
join step m on m.no = p.step
join run mr on mr.no = m.run
where exists (select 1 from outcome o where o.step = c.no and o.form is not null);

-- params: one row for each plain parameter of a run (step is null) or of an invocation.
--   run, step, invocation, name
--   value         as SQL: number, text, or JSON text of anything that holds others
create view params as
select r.id as run, null as step, null as invocation, j.key as name, j.value
from run r, json_each(r.params) j
union all
select r.id, k.step, lower(hex(s.invocation)), j.key, j.value
from step s join call k on k.id = s.call join run r on r.no = s.run, json_each(s.params) j
where s.params is not null;

-- triggers: one row for each arrival, and for each run that took it.
--   no            its place in the order of the log
--   trigger, path, version, artifact, digest, size, at
--   reason        why it was refused; else null
--   run, pipeline null while no run has taken it
create view triggers as
select
  a.no, a.trigger, a.path, a.version, 'file-' || nullif(lower(hex(a.file)), '') as artifact,
  'sha256-' || nullif(lower(hex(f.digest)), '') as digest, f.size, a.at, a.reason, r.id as run, r.pipeline
from arrival a
left join file f on f.id = a.file
left join run r on r.trigger = a.trigger and r.arrivals_after < a.no and r.arrivals_upto >= a.no and a.reason is null;

-- tags: one row for each time that an artifact was tagged.
--   no            its place in the order of the log
--   tag, pipeline, step, run (the one it was found in), output (-1: all), at
--   artifact      its id (of all outputs: of the first)
--   is_current    1 for the last one of this tag, pipeline and step: what `latest(..., tag=...)` finds
create view tags as
select
  t.no, t.name as tag, t.pipeline, t.step, t.run, lower(hex(t.invocation)) as invocation, t.output, t.at,
  lower(hex(m.invocation)) || ':' || max(t.output, 0) || '@' || mr.id as artifact,
  t.no = (select max(l.no) from tag l where l.pipeline = t.pipeline and l.step = t.step and l.name = t.name) as is_current
from tag t
left join run r on r.id = t.run
left join step s on s.run = r.no and s.invocation = t.invocation
left join reuse u on u.step = s.no
left join step m on m.no = coalesce(u.origin, s.no)
left join run mr on mr.no = m.run;

-- metrics: one row for each number that a step reported, in the order of the log.
--   run (id), pipeline, step, invocation (hex), element (of a fan-out, else null), attempt
--   name, at_step (the step's own counting, if it gave one), value, at
create view metrics as
select
  r.id as run, r.pipeline, k.step, lower(hex(s.invocation)) as invocation, nullif(m.element, -1) as element, m.attempt,
  m.name, m.at_step, m.value, m.at
from metric m
join step s on s.no = m.step
join call k on k.id = s.call
join run r on r.no = s.run
order by m.position, m.place;
