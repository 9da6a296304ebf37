create database if not exists lemp;
create table if not exists lemp.visits (
    id int unsigned auto_increment primary key,
    at timestamp not null default current_timestamp
);
create user if not exists 'www-data'@'localhost' identified via unix_socket;
grant select, insert on lemp.* to 'www-data'@'localhost';
