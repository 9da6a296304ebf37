<?php
// The whole shop. It needs nothing but Debian's php8.2-fpm: Redis is spoken to by hand, PostgreSQL through psql.

/** Sends one command to Redis and returns the first line of the answer without its type. */
function redis(string ...$words): string
{
    $socket = @fsockopen('127.0.0.1', (int) getenv('REDIS_PORT'), $code, $problem, 2);
    if (!$socket) {
        throw new RuntimeException("redis: $problem");
    }
    fwrite($socket, implode(' ', $words) . "\r\n");
    $answer = fgets($socket);
    fclose($socket);
    if ($answer === false || $answer[0] === '-') {
        throw new RuntimeException('redis: ' . trim((string) $answer));
    }
    return trim(substr($answer, 1));
}

/** Runs one query (PGHOST, PGPORT and so on come from the environment) and returns its lines. */
function query(string $sql): array
{
    $command = ['psql', '--no-psqlrc', '--tuples-only', '--no-align', '--command', $sql];
    $psql = proc_open($command, [1 => ['pipe', 'w'], 2 => ['redirect', 1]], $pipes);
    $output = stream_get_contents($pipes[1]);
    if (proc_close($psql) !== 0) {
        throw new RuntimeException("postgres: $output");
    }
    return array_filter(explode("\n", $output));
}

header('Content-Type: text/plain');
try {
    if (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) === '/healthz') {
        redis('PING');
        query('select 1 from products limit 1');
        echo "ok\n";
        return;
    }
    echo 'Welcome, visitor ', redis('INCR', 'visits'), ".\n\n";
    foreach (query("select name || ': ' || to_char(cents / 100.0, 'FM990.00') from products order by name") as $line) {
        echo "$line\n";
    }
} catch (RuntimeException $problem) {
    http_response_code(503);
    echo $problem->getMessage(), "\n";
}
