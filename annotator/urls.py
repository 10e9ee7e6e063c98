"""The site map."""

from django.contrib import admin
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_not_required
from django.urls import include, path

from annotator import signin
from annotator.acceptance import views as acceptance
from annotator.adjudication import views as adjudication
from annotator.agreement import views as agreement
from annotator.dashboard import audit_views, import_views, job_views, model_views, table_views, trajectory_views
from annotator.dashboard import views as dashboard
from annotator.fusion import views as fusion
from annotator.labelling import history_views
from annotator.labelling import views as labelling
from annotator.prelabelling import learning_views as learning
from annotator.prelabelling import views as prelabelling
from annotator.projects import views as projects
from annotator.raters import reliability_views
from annotator.raters import views as raters
from annotator.releases import views as releases
from annotator.selection import views as selection

project_urls = [  # /projects/<slug>/
    path("", dashboard.project_overview, name="project-overview"),
    path("trajectories/", trajectory_views.trajectory_list, name="trajectory-list"),
    path("trajectories/<int:pk>/", trajectory_views.trajectory_detail, name="trajectory-detail"),
    path("trajectories/<int:pk>/models/", model_views.trajectory_models, name="trajectory-models"),
    path("import/", import_views.import_new, name="import-new"),
    path("jobs/", job_views.job_list, name="job-list"),
    path("models/", prelabelling.model_list, name="model-list"),
    path("models/train/", prelabelling.scorer_train, name="scorer-train"),
    path("learning/", learning.learning_detail, name="learning"),
    path("learning/train/", learning.learning_start, name="learning-start"),
    path("beliefs/", fusion.beliefs, name="beliefs"),
    path("selection/", selection.overview, name="selection"),
    path("selection/start/", selection.start, name="selection-start"),
    path("selection/<int:number>/", selection.round_detail, name="selection-round"),
    path("acceptance/", acceptance.overview, name="acceptance"),
    path("acceptance/<int:number>/", acceptance.detail, name="acceptance-detail"),
    path("acceptance/<int:number>/stop/", acceptance.stop, name="acceptance-stop"),
    path("raters/", raters.rater_list, name="rater-list"),
    path("hints/", raters.hint_report, name="hint-report"),
    path("raters/steps/", raters.rater_steps, name="rater-steps"),
    path("raters/reliability/", reliability_views.reliability, name="reliability"),
    path("raters/reliability/steps/", reliability_views.reliability_steps, name="reliability-steps"),
    path("raters/<int:pk>/calibrate/", raters.calibrate, name="rater-calibrate"),
    path("members/", projects.member_list, name="member-list"),
    path("members/<int:pk>/role/", projects.member_change, name="member-change"),
    path("members/<int:pk>/remove/", projects.member_remove, name="member-remove"),
    path("invitations/<int:pk>/revoke/", projects.invitation_revoke, name="invitation-revoke"),
    path("guideline/", projects.guideline, name="guideline"),
    path("guideline/preview/", projects.guideline_preview, name="guideline-preview"),
    path("guideline/changes/", projects.guideline_changes, name="guideline-changes"),
    path("guideline/older/", projects.guideline_older, name="guideline-older"),
    path("settings/", projects.settings, name="project-settings"),
    path("data/", table_views.table_list, name="table-list"),
    path("data/<slug:name>.<slug:format>", table_views.table_download, name="table-download"),
    path("audit/", audit_views.audit_list, name="audit-list"),
    path("history/", history_views.history, name="history"),
    path("claim/", labelling.claim, name="assignment-claim"),
    path("reviews/", adjudication.review_list, name="review-list"),
    path("reviews/claim/", adjudication.claim, name="review-claim"),
    path("returns/take-back/", adjudication.take_back_all, name="returns-take-back"),
    path("agreement/", agreement.agreement, name="agreement"),
    path("agreement/steps/", agreement.agreement_steps, name="agreement-steps"),
    path("agreement/annotators/", agreement.annotator_list, name="annotator-list"),
    path("agreement/annotators/<int:pk>/", agreement.annotator_detail, name="annotator-detail"),
    path("releases/", releases.release_list, name="release-list"),
]

assignment_urls = [  # /assignments/<pk>/
    path("", labelling.assignment_detail, name="assignment-detail"),
    path("labels/", labelling.save_labels, name="assignment-labels"),
    path("submit/", labelling.submit, name="assignment-submit"),
    path("skip/", labelling.skip, name="assignment-skip"),
    path("ahead/", labelling.load_ahead, name="assignment-ahead"),
    path("reveal/", labelling.reveal, name="assignment-reveal"),
    path("hints/", labelling.show_hints, name="assignment-hints"),
    path("texts/<int:message_index>/<str:part>/", labelling.assignment_text, name="assignment-text"),
    path("search/", labelling.assignment_search, name="assignment-search"),
    path("release/", labelling.release_claim, name="assignment-release"),
    path("reopen/", history_views.reopen, name="assignment-reopen"),
]

urlpatterns = [
    path("", dashboard.project_list, name="project-list"),
    path("projects/<slug:slug>/", include(project_urls)),
    path("assignments/<int:pk>/", include(assignment_urls)),
    path("jobs/<int:pk>/", job_views.job_detail, name="job-detail"),
    path("jobs/<int:pk>/cancel/", job_views.job_cancel, name="job-cancel"),
    path("jobs/<int:pk>/retry/", job_views.job_retry, name="job-retry"),
    path("jobs/<int:pk>/import/", import_views.import_checked, name="import-checked"),
    path("prelabel-runs/<int:pk>/", prelabelling.run_detail, name="prelabel-run"),
    path("prelabel-runs/<int:pk>/again/", prelabelling.run_again, name="prelabel-run-again"),
    path("reviews/<int:pk>/", adjudication.review_detail, name="review-detail"),
    path("reviews/<int:pk>/release/", adjudication.release_claim, name="review-release"),
    path("reviews/<int:pk>/raters/", adjudication.reveal_raters, name="review-raters"),
    path("reviews/<int:pk>/disputes/<int:dispute_pk>/decide/", adjudication.decide, name="dispute-decide"),
    path("disputes/<int:pk>/comment/", adjudication.comment, name="dispute-comment"),
    path("annotations/<int:pk>/return/", adjudication.return_annotation, name="annotation-return"),
    path("annotations/<int:pk>/take-back/", adjudication.take_back, name="annotation-take-back"),
    path("annotations/<int:pk>/answer/", history_views.answer, name="annotation-answer"),
    path("releases/<int:pk>/", releases.release_detail, name="release-detail"),
    path("releases/<int:pk>/manifest/", releases.release_manifest, name="release-manifest"),
    path("releases/<int:pk>/export/", releases.release_export, name="release-export"),
    path("releases/<int:pk>/compare/<int:other>/", releases.release_compare, name="release-compare"),
    path("invitations/<str:secret>/", projects.invitation_open, name="invitation"),
    path("tokens/", dashboard.token_list, name="token-list"),
    path("tokens/<str:key>/revoke/", dashboard.token_revoke, name="token-revoke"),
    path("accounts/login/", signin.SignInView.as_view(), name="login"),
    path("accounts/password/", signin.PasswordView.as_view(), name="password"),
    path("accounts/logout/", login_not_required(auth_views.LogoutView.as_view()), name="logout"),
    path("healthz/", dashboard.health, name="health"),
    path("api/v1/", include("annotator.api.urls")),
    path("operators/login/", signin.operators_login),
    path("operators/", admin.site.urls),
]
