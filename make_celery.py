"""Entry point of workers and beat: ``celery -A make_celery worker --loglevel INFO``."""

from mailer import create_app

flask_app = create_app()
celery_app = flask_app.extensions["celery"]
