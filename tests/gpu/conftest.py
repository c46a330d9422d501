"""These tests are collected where there is a GPU only: elsewhere there would be nothing to run them on."""

import torch

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]
