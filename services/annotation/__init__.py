"""The annotation service: studies that readers answer, and all web pages."""
