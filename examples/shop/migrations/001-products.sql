-- Every migration can run again: a oneshot runs once per life of the project.
create table if not exists products (
    name text primary key,
    cents integer not null check (cents >= 0)
);

insert into products values ('apple', 40), ('bread', 320), ('cheese', 550)
on conflict (name) do nothing;
