"""Forms: responses that say the same are judged once.

What an application answers differs from request to request in the body, its length, its entity tag and its cache tags; all
other fields are mostly the same few. What these allow is worked out for the first of them and remembered. A response with
a field that has a time in it, or that is about its connection or a cookie, is judged anew each time.
"""

from __future__ import annotations

from valtier.http.rules.dates import format_date
from valtier.http.rules.fields import LONGEST, Header, number
from valtier.http.rules.hop import one_hop
from valtier.http.rules.options import Options
from valtier.http.rules.policy import Refused, StoredPolicy, Terms, judge, stamp, terms_of
from valtier.http.rules.request import RequestFacts

_MOST_FORMS = 1000
_LONGEST_FORM = 2000
"""Bytes: a response with longer fields is not worth a place."""
_ETAG, _LENGTH, _TAGS, _ANEW = range(4)
_JUDGED_ANEW = (
    *(b"date", b"age", b"expires", b"last-modified", b"warning", b"connection", b"trailer", b"set-cookie"),
    *(b"transfer-encoding", b"keep-alive"),
)

Key = tuple[int, bool, bool, tuple[Header, ...]]


class Form:
    """What all responses of one form allow."""

    __slots__ = ("_dropped", "terms")

    def __init__(self, terms: Terms | Refused, options: Options) -> None:
        self.terms = terms
        left_out = () if isinstance(terms, Refused) else terms.left_out
        self._dropped = one_hop(()) | options.hidden_names | {*left_out}

    def storable(self, fields: list[Header], now: float) -> list[Header]:
        """Returns the fields to store, as `storable_headers` does."""
        dropped = self._dropped
        kept = [line for line in fields if line[0] not in dropped]
        kept.append((b"date", format_date(now)))
        return kept


class Forms:
    """The forms that were seen: bounded, the oldest go. Not to be shared between event loops."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._forms: dict[Key, Form] = {}
        self._roles = dict.fromkeys(_JUDGED_ANEW, _ANEW)
        self._roles |= {b"etag": _ETAG, b"content-length": _LENGTH}
        said = (b"cache-control", b"vary", b"cache-groups", *options.targeted_names)
        if options.tag_name is not None and options.tag_name not in said:
            self._roles.setdefault(options.tag_name, _TAGS)
        for name in options.targeted_names:
            if name in self._roles:  # what differs in each answer would be what the form is about
                self._roles[name] = _ANEW

    def judge(
        self,
        facts: RequestFacts,
        status: int,
        fields: list[Header],
        *,
        request_time: float,
        response_time: float,
        identified: bool,
    ) -> tuple[StoredPolicy | Refused, Form | None]:
        """Judges a response as `rules.judge` does. Returns the form too, if it has one. About 5 µs for one that has."""
        form = self._form_of(facts, status, fields, response_time, identified=identified)
        if form is None:
            return judge(
                facts,
                status,
                fields,
                self._options,
                request_time=request_time,
                response_time=response_time,
                identified=identified,
            ), None
        terms = form.terms
        if isinstance(terms, Refused):
            return terms, form
        age = min(max(0.0, response_time - request_time), float(LONGEST))
        policy = stamp(terms, fields, self._options, age=age, date=response_time, response_time=response_time)
        return policy, form

    def _form_of(
        self, facts: RequestFacts, status: int, fields: list[Header], now: float, *, identified: bool
    ) -> Form | None:
        if facts.method != "GET" or facts.bypass is not None or facts.directives is not None:
            return None
        roles, rest, seen = self._roles, [], 0
        for line in fields:
            role = roles.get(line[0])
            if role is None:
                rest.append(line)
            elif role == _LENGTH:
                if seen or (number(line[1]) or 0) > self._options.max_body:
                    return None
                seen = 1
            elif role == _ANEW:
                return None
        key = (status, facts.credentials, identified, tuple(rest))
        form = self._forms.get(key)
        if form is None and sum([len(name) + len(value) for name, value in rest]) <= _LONGEST_FORM:
            terms = terms_of(facts, status, fields, self._options, now, now, identified=identified)
            form = Form(terms, self._options)
            if len(self._forms) >= _MOST_FORMS:
                del self._forms[next(iter(self._forms))]
            self._forms[key] = form
        return form
