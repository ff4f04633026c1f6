"""FluxStudio: a self-hosted creative studio on FastAPI and PostgreSQL, built on valtier."""
