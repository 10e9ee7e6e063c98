"""Filters that every template has (see TEMPLATES in settings)."""

import json
import re
from typing import NamedTuple

import nh3
from django import template
from django.urls import reverse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

from annotator.models import Membership

register = template.Library()

_markdown = MarkdownIt("commonmark").enable("table")


class NavEntry(NamedTuple):
    label: str
    url: str
    is_current: bool


# What the top bar offers, by role: (section, label, URL name).
_EVERYONE = [("overview", "Overview", "project-overview")]
_SETTLERS = [
    ("trajectories", "Trajectories", "trajectory-list"),
    ("reviews", "Review", "review-list"),
    ("agreement", "Agreement", "agreement"),
    ("raters", "Raters", "rater-list"),
    ("releases", "Releases", "release-list"),
]
_ADMINS = [("import", "Import", "import-new"), ("models", "Models", "model-list"), ("jobs", "Jobs", "job-list")]
_BELIEFS = ("beliefs", "Beliefs", "beliefs")
# What admins need now and then; it folds into one menu, so that the bar stays one line.
_MANAGE = [
    ("members", "Members", "member-list"),
    ("guideline", "Guideline", "guideline"),
    ("settings", "Settings", "project-settings"),
    ("hints", "Suggestions", "hint-report"),
    _BELIEFS,
    ("selection", "Selection", "selection"),
    ("acceptance", "Acceptance", "acceptance"),
    ("learning", "Learning", "learning"),
    ("data", "Data", "table-list"),
    ("audit", "Audit", "audit-list"),
]
_NAV = {
    Membership.Role.ANNOTATOR: [*_EVERYONE, ("history", "Your work", "history")],
    Membership.Role.REVIEWER: [*_EVERYONE, *_SETTLERS, _BELIEFS],
    Membership.Role.ADMIN: _EVERYONE + _SETTLERS + _ADMINS,
}


@register.filter
def nav_entries(membership: Membership, section: str) -> list[NavEntry]:
    """The project's pages that this member may open."""
    slug = membership.project.slug
    entries = _NAV[Membership.Role(membership.role)]
    return [NavEntry(label, reverse(name, args=[slug]), key == section) for key, label, name in entries]


@register.filter
def manage_entries(membership: Membership, section: str) -> list[NavEntry]:
    """The pages in the admins' menu; none for anybody else."""
    entries = _MANAGE if membership.role == Membership.Role.ADMIN else []
    slug = membership.project.slug
    return [NavEntry(label, reverse(name, args=[slug]), key == section) for key, label, name in entries]


@register.filter
def signed(value: int | None) -> str:
    """+1, 0, −1 with a real minus sign; a dash for none."""
    return "–" if value is None else {1: "+1", 0: "0", -1: "−1"}[value]


@register.filter
def value_class(value: int | None) -> str:
    """The CSS class that colours a value."""
    return "" if value is None else {1: "correct", 0: "neutral", -1: "incorrect"}[value]


@register.filter
def badge_class(status: str) -> str:
    """CSS class for the status of a job."""
    return {"running": "info", "done": "good", "failed": "bad", "cancelled": "warn"}.get(status, "")


@register.filter
def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


@register.filter
def decimals(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


@register.filter
def size(n_characters: int) -> str:
    """A length of text as people say it: 940 characters, 12 k characters, 1.2 M characters."""
    if n_characters < 1000:
        return f"{n_characters} characters"
    if n_characters < 1_000_000:
        return f"{n_characters / 1000:.0f} k characters"
    return f"{n_characters / 1_000_000:.1f} M characters"


@register.filter
def duration(seconds: float) -> str:
    """A time span as people say it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


@register.filter
def plus_one(index: int) -> int:
    """Steps count from 0 in the data and from 1 on the page."""
    return index + 1


@register.filter
def lookup(mapping: dict[object, object], key: object) -> object:
    """`mapping[key]`, or None."""
    return mapping.get(key)


@register.filter
def markdown(text: str) -> SafeString:
    """A guideline's Markdown as sanitised HTML; its headings go below those of the page."""
    tokens = _markdown.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
    return mark_safe(nh3.clean(_markdown.renderer.render(tokens, _markdown.options, {})))  # nh3 removed what is active


# What nobody can see, or what turns the direction of writing: controls (a terminal's colours among them), soft hyphen,
# zero-width space, marks and overrides of direction, and the tag characters that can smuggle a second text. Joiners
# (U+200C, U+200D) stay: scripts and emoji need them. static/js/marks.js has the same list.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


@register.filter
def marked(text: str) -> SafeString:
    """A text of a trajectory, escaped, with each invisible character shown by its code."""
    if not _INVISIBLE.search(text):
        return escape(text)
    shown = _INVISIBLE.sub(lambda found: f'<span class="mark">U+{ord(found[0]):04X}</span>', escape(text))
    return mark_safe(shown)  # escaped above; what was put in is ours


@register.filter
def pretty_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
