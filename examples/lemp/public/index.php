<?php
header('Content-Type: text/plain');
try {
    // Who we are is told by the socket; there is no password.
    $db = new mysqli(hostname: 'localhost', username: 'www-data', database: 'lemp', socket: getenv('DB_SOCKET'));
    if (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) === '/healthz') {
        $db->query('select 1 from visits limit 1');
        echo "ok\n";
        return;
    }
    $db->query('insert into visits () values ()');
    echo "Welcome, visitor $db->insert_id. This is PHP ", PHP_VERSION, ' with MariaDB ', $db->server_info, ".\n";
} catch (mysqli_sql_exception $problem) {
    http_response_code(503);
    echo $problem->getMessage(), "\n";
}
