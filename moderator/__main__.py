"""``python -m moderator`` is ``moderator``, for when the scripts folder is not on the path."""

from moderator.cli import main

if __name__ == "__main__":
    main()
