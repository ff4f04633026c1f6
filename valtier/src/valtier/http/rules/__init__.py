"""The rules of a shared HTTP cache (RFC 9110, 9111, 5861, 8246, 9211, 9213, 9875), as functions of their arguments.

Nothing here does I/O or reads a clock: `now` is passed in, Unix seconds as a float. Fields are ASGI's lists of
(lower-case name, value). No function raises on any input that HTTP can carry. How they work together::

    facts = read_request(method, headers, options)       # one pass; facts.plain: nothing special is asked
    facts.safe is False      -> forward as it is; then invalidation(...) says what its response outdates
    facts.bypass             -> forward as it is (Cache-Status: fwd=bypass or fwd=method)
    key = primary_key(scheme, facts.host, raw_path, query, options)      # None: forward as it is
    variant = variant_key(facts, names, headers, options, identity=...)  # names: `policy.vary` of what is stored
    decision = reuse(policy, facts, now, options), or missed(facts, options) if nothing is stored
    SERVE, SERVE_STALE       -> stored fields + hit_headers(decision, options); not facts.plain: answer(...) first
    VALIDATE                 -> forward with validation_headers(headers, policy); a 304 that selects(...) it:
                                freshen, judge, storable_headers, serve; serves_error(...) on failure
    FORWARD                  -> forward with fill_headers(headers) (HEAD, and a key known not to be stored: as it is);
                                judge(...) what comes; if it is stored and complete, answer(...) the client's own
                                conditions from it
    BYPASS                   -> forward as it is
    UNAVAILABLE              -> 504
"""

from valtier.http.rules.answer import Answer, answer
from valtier.http.rules.conditional import fill_headers, not_modified, validation_headers
from valtier.http.rules.directives import RequestDirectives
from valtier.http.rules.fields import Header, Headers, combined
from valtier.http.rules.forms import Form, Forms
from valtier.http.rules.freshen import freshen, head_outdates, selects
from valtier.http.rules.hop import end_to_end
from valtier.http.rules.invalidation import Invalidation, invalidation
from valtier.http.rules.keys import group_key, origin_of, primary_key, variant_key
from valtier.http.rules.options import Kind, Options
from valtier.http.rules.policy import Refused, StoredPolicy, judge
from valtier.http.rules.request import RequestFacts, read_request
from valtier.http.rules.reuse import Action, Decision, missed, reuse, serves_error
from valtier.http.rules.status import cache_status, hit_headers
from valtier.http.rules.storable import complete, storable_headers
from valtier.http.rules.vary import selecting, vary_names

__all__ = [
    "Action",
    "Answer",
    "Decision",
    "Form",
    "Forms",
    "Header",
    "Headers",
    "Invalidation",
    "Kind",
    "Options",
    "Refused",
    "RequestDirectives",
    "RequestFacts",
    "StoredPolicy",
    "answer",
    "cache_status",
    "combined",
    "complete",
    "end_to_end",
    "fill_headers",
    "freshen",
    "group_key",
    "head_outdates",
    "hit_headers",
    "invalidation",
    "judge",
    "missed",
    "not_modified",
    "origin_of",
    "primary_key",
    "read_request",
    "reuse",
    "selecting",
    "selects",
    "serves_error",
    "storable_headers",
    "validation_headers",
    "variant_key",
    "vary_names",
]
