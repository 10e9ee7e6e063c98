"""The site map."""

from django.contrib import admin
from django.contrib.auth import views as auth_views
from django.urls import include, path

from annotator.adjudication import views as adjudication
from annotator.agreement import views as agreement
from annotator.dashboard import import_views, job_views, trajectory_views
from annotator.dashboard import views as dashboard
from annotator.labelling import views as labelling
from annotator.releases import views as releases

project_urls = [  # /projects/<slug>/
    path("", dashboard.project_overview, name="project-overview"),
    path("trajectories/", trajectory_views.trajectory_list, name="trajectory-list"),
    path("trajectories/<int:pk>/", trajectory_views.trajectory_detail, name="trajectory-detail"),
    path("import/", import_views.import_new, name="import-new"),
    path("jobs/", job_views.job_list, name="job-list"),
    path("claim/", labelling.claim, name="assignment-claim"),
    path("reviews/", adjudication.review_list, name="review-list"),
    path("reviews/claim/", adjudication.claim, name="review-claim"),
    path("agreement/", agreement.agreement, name="agreement"),
    path("releases/", releases.release_list, name="release-list"),
]

assignment_urls = [  # /assignments/<pk>/
    path("", labelling.assignment_detail, name="assignment-detail"),
    path("labels/", labelling.save_labels, name="assignment-labels"),
    path("submit/", labelling.submit, name="assignment-submit"),
    path("skip/", labelling.skip, name="assignment-skip"),
    path("release/", labelling.release_claim, name="assignment-release"),
]

urlpatterns = [
    path("", dashboard.project_list, name="project-list"),
    path("projects/<slug:slug>/", include(project_urls)),
    path("assignments/<int:pk>/", include(assignment_urls)),
    path("jobs/<int:pk>/", job_views.job_detail, name="job-detail"),
    path("jobs/<int:pk>/cancel/", job_views.job_cancel, name="job-cancel"),
    path("jobs/<int:pk>/import/", import_views.import_checked, name="import-checked"),
    path("reviews/<int:pk>/", adjudication.review_detail, name="review-detail"),
    path("reviews/<int:pk>/release/", adjudication.release_claim, name="review-release"),
    path("disputes/<int:pk>/decide/", adjudication.decide, name="dispute-decide"),
    path("releases/<int:pk>/", releases.release_detail, name="release-detail"),
    path("releases/<int:pk>/manifest/", releases.release_manifest, name="release-manifest"),
    path("releases/<int:pk>/export/", releases.release_export, name="release-export"),
    path("tokens/", dashboard.token_list, name="token-list"),
    path("tokens/<str:key>/revoke/", dashboard.token_revoke, name="token-revoke"),
    path("accounts/login/", auth_views.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("accounts/logout/", auth_views.LogoutView.as_view(), name="logout"),
    path("healthz/", dashboard.health, name="health"),
    path("api/v1/", include("annotator.api.urls")),
    path("operators/", admin.site.urls),
]
