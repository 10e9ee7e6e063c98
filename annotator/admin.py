"""Django's own admin, at /operators/: for whoever runs the installation, never for the people who label.

Projects are worked in through Stepmark's pages, which keep the rules and the audit trail. Here an operator may mend
accounts and look at rows; what is final, or has an action that writes it, can only be looked at.
"""

from django.apps import apps
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db import models
from django.http import HttpRequest

from annotator.models import Invitation, LoginAttempt, UploadChunk, User

admin.site.site_header = "Stepmark for operators"
admin.site.site_title = "Stepmark operators"
admin.site.register(User, UserAdmin)


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Rows to look at."""

    list_per_page = 50
    list_select_related = True
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False


class InvitationAdmin(ReadOnlyAdmin):
    exclude = ("secret_sha256",)


admin.site.register(Invitation, InvitationAdmin)

# Of no use to look at: pieces of files, and hashes of what people mistyped.
LEFT_OUT = (LoginAttempt, UploadChunk)

for model in apps.get_app_config("annotator").get_models():
    if model not in LEFT_OUT and not admin.site.is_registered(model):
        admin.site.register(model, ReadOnlyAdmin)
