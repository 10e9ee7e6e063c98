"""What all raters together say of every step. Statistics are pure; `actions.py` and `views.py` meet the database."""
