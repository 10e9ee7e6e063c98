"""The health check of a database connection, which asks the server nothing."""

import threading

import pytest
from django.contrib.auth import get_user_model
from django.db import close_old_connections, connection

from annotator.postgresql.base import prepared_cursor


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_the_server_has_ended_is_replaced_before_the_next_request() -> None:
    said: list[int] = []
    ended, noticed = threading.Event(), threading.Event()

    def idle_client() -> None:
        connection.ensure_connection()
        said.append(connection.connection.info.backend_pid)
        assert connection.is_usable()
        ended.set()
        noticed.wait(10)
        said.append(connection.is_usable())
        close_old_connections()  # as at the start of every request
        said.append(get_user_model().objects.count())
        connection.close()

    client = threading.Thread(target=idle_client)
    client.start()
    assert ended.wait(10)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [said[0]])
        assert cursor.fetchone() == (True,)
    noticed.set()
    client.join()
    assert said[1:] == [False, 0]


@pytest.mark.django_db
def test_one_prepared_statement_serves_integers_of_every_size() -> None:
    with prepared_cursor() as cursor:
        for number in (1, 70_000, 5_000_000_000, None):
            cursor.execute("SELECT %(number)s::bigint", {"number": number})
            assert cursor.fetchone() == (number,)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT $1::bigint'")
        assert cursor.fetchone() == (1,)
