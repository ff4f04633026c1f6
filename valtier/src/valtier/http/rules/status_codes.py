"""Status codes, as far as a cache has to know them."""

from __future__ import annotations

HEURISTIC = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""Those that may be given heuristic freshness (RFC 9110 §15.1)."""

UNDERSTOOD = frozenset(
    {200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308}
    | {
        400,
        401,
        402,
        403,
        404,
        405,
        406,
        407,
        408,
        409,
        410,
        411,
        412,
        413,
        414,
        415,
        416,
        417,
        421,
        422,
        423,
        424,
    }
    | {425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 511}
)
"""Those whose meaning for caching is known here (RFC 9111 §5.2.2.3). 206 and 304 are not stored as responses."""

ERRORS = frozenset({500, 502, 503, 504})
"""What `stale-if-error` hides (RFC 5861 §4)."""
