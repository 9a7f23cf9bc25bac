"""The one error that the export raises on purpose."""


class ExportError(Exception):
    """One sentence for the person who runs the export: what is wrong and what to do."""
