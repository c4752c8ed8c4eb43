"""`python -m services.cli` is the `primitives` command."""

from services.cli.main import main

if __name__ == "__main__":
    main()
