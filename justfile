# The short names of what is done every day. `just check` is what has to hold before a change lands.

# every check: style, types, layers, documentation, tests
check:
    .ci/check

# a virtual environment with everything the checks need
setup:
    python3 -m venv .venv
    .venv/bin/python -m pip install -e ".[test]"

# style, types and layers, without the tests
lint:
    .venv/bin/ruff check
    .venv/bin/ruff format --check
    .venv/bin/mypy
    .venv/bin/lint-imports

# what ruff can put right by itself
fix:
    .venv/bin/ruff check --fix
    .venv/bin/ruff format

# tests; arguments go to pytest: just test tests/test_host.py
test *arguments:
    .venv/bin/python -m pytest {{arguments}}

# write the parts of the documentation that come from the code
docs:
    .venv/bin/python docs/generate.py
