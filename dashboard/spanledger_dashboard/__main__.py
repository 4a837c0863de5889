"""`python -m spanledger_dashboard --host … --port …`: the dashboard without the `spanledger` command."""

import typer

from spanledger_dashboard.cli import dashboard

if __name__ == "__main__":
    typer.run(dashboard)
