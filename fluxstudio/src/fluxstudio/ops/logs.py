"""Logs: what the worker's loggers print, for people or for machines."""

from __future__ import annotations

import logging
import sys

import structlog

from fluxstudio.http.request_ids import add_request_id


def configure_logging(*, as_json: bool) -> None:
    """Sends the records of FluxStudio and valtier to standard error, from INFO on; one JSON object a line, or text."""
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            add_request_id,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *([structlog.processors.format_exc_info] if as_json else []),
            renderer,
        ],
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    for name in ("fluxstudio", "valtier"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
    # Its pool tells each failed try to reconnect with a traceback; that the database is away we say ourselves.
    logging.getLogger("asyncpg").setLevel(logging.ERROR)
