"""The documented pattern: Flask's "Background Tasks with Celery", and Flask-Mail's ``send``.

One task per email, a template rendered in the worker, a connection for each message. It is what
the dispatcher is compared with: what a team gets that follows the documentation of the two.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task, shared_task
from flask import Flask, render_template
from flask_mail import Mail, Message

from . import work

mail = Mail()


def create_app() -> Flask:
    app = Flask("pattern", template_folder=str(work.TEMPLATES))
    app.config.update(
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=int(os.environ["BENCHMARK_SMTP_PORT"]),
        MAIL_DEFAULT_SENDER=work.SENDER,
        CELERY={
            "broker_url": os.environ["BENCHMARK_REDIS_URL"],
            "result_backend": os.environ["BENCHMARK_REDIS_URL"],
            "task_ignore_result": True,
        },
    )
    mail.init_app(app)
    celery_init_app(app)
    return app


def celery_init_app(app: Flask) -> Celery:
    class FlaskTask(Task):  # type: ignore[type-arg]
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app: Celery = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app


@shared_task(ignore_result=True)
def send_email(to: str, subject: str, template: str, context: dict[str, Any]) -> None:
    message = Message(subject, recipients=[to])
    message.body = render_template(f"{template}/body.txt", **context)
    message.html = render_template(f"{template}/body.html", **context)
    mail.send(message)


flask_app = create_app()
celery_app = flask_app.extensions["celery"]
