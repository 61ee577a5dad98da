from __future__ import annotations

import pytest

from watchdog.prometheus_rules.helpers import TemplateError
from watchdog.prometheus_rules.template import LabelMap, Template


def render_template(text: str, value: float = 1.5, **labels: str) -> str:
    held = LabelMap(labels)
    return Template(text).render(
        {"Labels": held, "Value": value},
        {"labels": held, "value": value, "externalLabels": LabelMap(), "externalURL": "http://x"},
        lambda expr: [{"Labels": LabelMap(k="a"), "Value": 2.0}] if expr == "up" else [],
    )


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("no action", "no action"),
        ("{{ $value }} {{ .Value }}", "1.5 1.5"),
        ("{{ $labels.job }}{{ $labels.nope }}", "x"),
        ("{{ if $labels.nope }}a{{ else if $labels.job }}b{{ else }}c{{ end }}", "b"),
        ("{{ if eq $labels.job `x` }}{{ with $labels.job }}<{{ . }}>{{ end }}{{ end }}", "<x>"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
        ("{{ range query `up` }}{{ .Labels.k }}{{ else }}none{{ end }}", "a"),
        ("{{ range query `down` }}{{ .Labels.k }}{{ else }}none{{ end }}", "none"),
        ('{{ "}}" }} {{/* a comment */}}!', "}} !"),
        ("{{ (printf `%.1f` $value) | len }}", "3"),
        ("a {{- 1 -}} b", "a1b"),
    ],
)
def test_templates_are_filled_in(text: str, filled: str) -> None:
    assert render_template(text, job="x") == filled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ toTime $value }}", "the template function 'toTime' is not supported"),
        ('{{ template "x" }}', "template is not supported"),
        ("{{ $valu }}", "undefined variable"),
        ("{{ if $value }}", "has no {{ end }}"),
        ("{{ end }}", "closes nothing"),
        ("{{ $value", "is not closed"),
        ("{{ }}", "holds nothing"),
        ("{{ $value | }}", "a value is missing"),
        ("{{ $value ? }}", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_template_is_said_before_it_is_used(text: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        Template(text)


@pytest.mark.parametrize(
    "text", ["{{ gt $value 1 }}", "{{ query `down` | first }}", "{{ $value 1 }}", "{{ humanize }}", "{{ .Nope }}"]
)
def test_what_cannot_be_filled_in_is_said(text: str) -> None:
    with pytest.raises(TemplateError):
        render_template(text)
