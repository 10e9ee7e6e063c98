import io
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now
from knox.auth import TokenAuthentication
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed

from annotator.models import AuditEvent, Guideline, Membership, Project, User
from tests.commands.processes import manage
from tests.factories import World, make_user


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


@pytest.mark.django_db
def test_create_user_takes_the_password_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_in(monkeypatch, "a long sentence\n")
    call_command("create_user", "mira", "--password-stdin", "--email", "mira@example.org")
    user = User.objects.get()
    assert (user.username, user.email, user.is_staff, user.is_superuser) == ("mira", "mira@example.org", False, False)
    assert user.check_password("a long sentence")
    assert AuditEvent.objects.get().action == "user.created"
    assert capsys.readouterr().out == "Created user mira.\n"


@pytest.mark.django_db
def test_create_user_can_make_an_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, "a long sentence")
    call_command("create_user", "olga", "--password-stdin", "--superuser")
    assert User.objects.filter(username="olga", is_staff=True, is_superuser=True).exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("username", "password", "sentence"),
    [
        (
            "mira",
            "mira",
            "The user was not created. The password is too similar to the username. This password is too ",
        ),
        (
            "mira",
            "12ab",
            "The user was not created. This password is too short. It must contain at least 8 characters.",
        ),
        ("mira", "", "The user was not created. The password is empty."),
        ("mi ra", "a long sentence", "The user was not created. Enter a valid username."),
        ("there", "a long sentence", "There is a user 'there' already; nothing was changed."),
    ],
)
def test_create_user_refuses_with_a_sentence(
    username: str, password: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = make_user("there")
    type_in(monkeypatch, f"{password}\n")
    with pytest.raises(CommandError) as refusal:
        call_command("create_user", username, "--password-stdin")
    assert str(refusal.value).startswith(sentence)
    assert refusal.value.returncode == 1
    assert User.objects.get().password == there.password
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_create_user_without_terminal_and_option_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, "a long sentence\n")
    with pytest.raises(CommandError, match="pass --password-stdin"):
        call_command("create_user", "mira")
    assert not User.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(("second", "n_users"), [("a long sentence", 1), ("another sentence", 0)])
def test_create_user_asks_twice_on_a_terminal(monkeypatch: pytest.MonkeyPatch, second: str, n_users: int) -> None:
    answers = iter(["a long sentence", second])
    type_in(monkeypatch, "")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("annotator.management.commands.create_user.getpass", lambda prompt: next(answers))
    if n_users:
        call_command("create_user", "mira")
    else:
        with pytest.raises(CommandError, match="The two passwords differ"):
            call_command("create_user", "mira")
    assert User.objects.count() == n_users


@pytest.mark.django_db
def test_create_project_takes_the_command_line_over_the_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"name": "From the file", "overlap": 3, "claim_minutes": 5, "guideline": "# Judge"}')
    call_command("create_project", "towers", "--settings", str(path), "--overlap", "1")
    project = Project.objects.get()
    assert (project.slug, project.name, project.overlap, project.max_overlap) == ("towers", "From the file", 1, 1)
    assert project.claim_minutes == 5
    assert Guideline.objects.get().text == "# Judge"
    call_command("create_project", "walls", "--settings", str(path), "--name", "From here")
    assert Project.objects.get(slug="walls").name == "From here"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"overlaps": 3}', "The settings do not fit: overlaps: Extra inputs are not permitted."),
        ('{"overlap": 3, "max_overlap": 2}', "The project cannot be created: max_overlap must not be smaller"),
        ("[]", "{path} must hold one JSON object with settings."),
        ("{", "{path} is not valid JSON: Expecting property name"),
        (None, "{path} cannot be read: No such file or directory."),
    ],
)
def test_create_project_refuses_wrong_settings(content: str | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CommandError) as refusal:
        call_command("create_project", "towers", "--settings", str(path))
    assert str(refusal.value).startswith(sentence.format(path=path))
    assert refusal.value.returncode == 1
    assert not Project.objects.exists()


def test_create_project_refuses_a_slug_that_is_taken(world: World) -> None:
    with pytest.raises(CommandError, match=r"The project cannot be created: .*already exists"):
        call_command("create_project", world.project.slug)
    assert Project.objects.count() == 1


def test_add_member_gives_a_role_and_changes_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("add_member", "demo", "demo-otto", "annotator")
    call_command("add_member", "demo", "demo-otto", "reviewer")
    assert Membership.objects.get(project=world.project, user=world.outsider).role == "reviewer"
    assert capsys.readouterr().out == "demo-otto is now annotator in demo.\ndemo-otto is now reviewer in demo.\n"


@pytest.mark.parametrize(
    ("slug", "username", "role", "sentence"),
    [
        ("nowhere", "demo-otto", "annotator", "There is no project 'nowhere'. Create it with"),
        ("demo", "nobody", "annotator", "There is no user 'nobody'. Create them with"),
        ("demo", "demo-otto", "owner", "Error: argument ROLE: invalid choice: 'owner'"),
    ],
)
def test_add_member_refuses_with_a_sentence(slug: str, username: str, role: str, sentence: str, world: World) -> None:
    with pytest.raises(CommandError) as refusal:
        call_command("add_member", slug, username, role)
    assert str(refusal.value).startswith(sentence)
    assert Membership.objects.count() == 4


@pytest.mark.django_db
@pytest.mark.parametrize(("arguments", "days"), [([], 90), (["--days", "7"], 7)])
def test_create_token_prints_only_a_token_that_opens_the_api(
    arguments: list[str], days: int, capsys: pytest.CaptureFixture[str]
) -> None:
    user = make_user("mira")
    call_command("create_token", "mira", *arguments)
    printed = capsys.readouterr()
    token = printed.out.removesuffix("\n")
    assert TokenAuthentication().authenticate_credentials(token.encode())[0] == user
    with pytest.raises(AuthenticationFailed):
        TokenAuthentication().authenticate_credentials(token[:-1].encode())
    stored = AuthToken.objects.get()
    assert token not in (stored.digest, stored.token_key)
    assert abs(stored.expiry - now() - timedelta(days=days)) < timedelta(minutes=1)
    assert printed.err == f"Valid until {stored.expiry:%Y-%m-%d %H:%M} UTC. It is stored hashed: keep it now.\n"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("username", "days", "sentence"),
    [
        ("nobody", "7", "There is no user 'nobody'."),
        ("gone", "7", "User 'gone' is deactivated"),
        ("mira", "0", "Error: argument --days: '0' is not a whole number from 1 on"),
        ("mira", "99999999999", "A token is valid for at most 3650 days"),
    ],
)
def test_create_token_refuses_with_a_sentence(username: str, days: str, sentence: str) -> None:
    make_user("mira")
    User.objects.filter(pk=make_user("gone").pk).update(is_active=False)
    with pytest.raises(CommandError) as refusal:
        call_command("create_token", username, "--days", days)
    assert str(refusal.value).startswith(sentence)
    assert not AuthToken.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_as_processes_the_commands_keep_output_errors_and_exit_codes_apart(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"overlap": 1}')
    assert manage("create_project", "towers", f"--settings={path}") == (0, "Created project towers.\n", "")
    assert Project.objects.get().overlap == 1
    status, out, err = manage("create_project", "towers")
    assert (status, out) == (1, "")
    assert err.startswith("CommandError: The project cannot be created: ")
    assert manage("create_user", "mira", "--password-stdin", stdin="a long sentence\n").status == 0
    status, out, err = manage("create_token", "mira")
    assert (status, len(out), err[:12]) == (0, 65, "Valid until ")
    status, out, err = manage("create_token")
    assert (status, out) == (2, "")
    assert err.endswith("error: the following arguments are required: USERNAME\n")


@pytest.mark.parametrize(
    "command",
    [
        "create_user",
        "create_project",
        "add_member",
        "create_token",
        "import_trajectories",
        "publish_release",
        "export_release",
        "seed_demo",
    ],
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        call_command(command, "--help")
    assert end.value.code == 0
    assert f"manage.py {command}" in Path("docs/commands.md").read_text(encoding="utf-8")
