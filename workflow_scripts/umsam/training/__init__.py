"""The task-specific UNet and its training by triple knowledge distillation (eq. 6-9)."""
