"""What is registered as a study of a cohort."""
