"""Let ``python -m cli`` be the command ``study``."""

from cli.main import main

if __name__ == "__main__":
    main()
