"""The site map of the API, below /api/v1/."""

from csp.decorators import csp_update
from django.urls import path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from annotator.api import acceptances, assignments, disputes, fusion, models, projects, releases, selection
from annotator.api.fallback import not_found

app_name = "api"

# Swagger UI writes style elements and attributes; scripts stay limited to this site.
swagger_ui = csp_update({"style-src": ["'self'", "'unsafe-inline'"]})(
    SpectacularSwaggerSplitView.as_view(url_name="api:schema")
)

urlpatterns = [
    path("projects/", projects.project_list),
    path("projects/<slug:slug>/", projects.project_detail),
    path("projects/<slug:slug>/trajectories/", projects.trajectory_list),
    path("projects/<slug:slug>/imports/", projects.import_start),
    path("projects/<slug:slug>/assignments/claim/", assignments.claim),
    path("projects/<slug:slug>/agreement/", disputes.agreement_detail),
    path("projects/<slug:slug>/disputes/", disputes.dispute_list),
    path("projects/<slug:slug>/releases/", releases.release_list),
    path("projects/<slug:slug>/models/", models.model_list),
    path("projects/<slug:slug>/prelabel-runs/", models.run_list),
    path("projects/<slug:slug>/scorers/", models.scorer_list),
    path("projects/<slug:slug>/learning/", models.learning_detail),
    path("projects/<slug:slug>/selection/", selection.selection_detail),
    path("projects/<slug:slug>/selection/<int:number>/", selection.pick_list),
    path("projects/<slug:slug>/acceptances/", acceptances.acceptance_list),
    path("projects/<slug:slug>/acceptances/<int:number>/stop/", acceptances.acceptance_stop),
    path("projects/<slug:slug>/fusion/", fusion.fusion_detail),
    path("projects/<slug:slug>/posteriors/", fusion.posterior_list),
    path("projects/<slug:slug>/raters/", models.rater_list),
    path("projects/<slug:slug>/reliability/", models.reliability),
    path("projects/<slug:slug>/hints/", models.hint_report),
    path("jobs/<int:pk>/", projects.job_detail),
    path("jobs/<int:pk>/cancel/", projects.job_cancel),
    path("assignments/<int:pk>/", assignments.assignment_detail),
    path("assignments/<int:pk>/labels/", assignments.save_labels),
    path("assignments/<int:pk>/submit/", assignments.submit),
    path("assignments/<int:pk>/hints/", assignments.show_hints),
    path("assignments/<int:pk>/skip/", assignments.skip),
    path("assignments/<int:pk>/release/", assignments.release_claim),
    path("disputes/<int:pk>/decisions/", disputes.decision_create),
    path("releases/<int:pk>/", releases.release_detail),
    path("releases/<int:pk>/export/", releases.release_export),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", swagger_ui, name="docs"),
    re_path("", not_found),
]
