"""Where items come from and where verdicts go: files and directories, streamed."""
