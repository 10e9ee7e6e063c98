import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("annotator", "0010_random_sample"),
    ]

    # Nothing could make an acceptance before: the table is empty, so that its columns may be exchanged.
    operations = [
        migrations.RemoveConstraint(model_name="acceptance", name="acceptance_one_active"),
        migrations.RemoveField(model_name="acceptance", name="fusion"),
        migrations.AddField(
            model_name="acceptance",
            name="job",
            field=models.OneToOneField(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="acceptance",
                to="annotator.job",
            ),
        ),
        migrations.AlterField(
            model_name="acceptance",
            name="job",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.PROTECT, related_name="acceptance", to="annotator.job"
            ),
        ),
        migrations.AddField(
            model_name="acceptance",
            name="number",
            field=models.PositiveIntegerField(default=1, help_text="Counts the acceptances of the project, from 1."),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="acceptance",
            name="seed",
            field=models.PositiveBigIntegerField(default=0),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="acceptance",
            name="code_version",
            field=models.CharField(default="", max_length=40),
            preserve_default=False,
        ),
        migrations.CreateModel(
            name="AcceptanceAudit",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "values",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.SmallIntegerField(null=True),
                        help_text="n_steps: what would have been accepted; null: nothing.",
                        size=None,
                    ),
                ),
                (
                    "n_wrong",
                    models.PositiveIntegerField(
                        help_text="Of these, those that people settled otherwise; null until they have settled all.",
                        null=True,
                    ),
                ),
                ("settled_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.AlterModelOptions(
            name="acceptance",
            options={"ordering": ["id"]},
        ),
        migrations.AddField(
            model_name="acceptance",
            name="data_sha256",
            field=models.CharField(blank=True, help_text="Of all that it was learnt and tested on.", max_length=64),
        ),
        migrations.AddField(
            model_name="acceptance",
            name="most_each",
            field=models.PositiveIntegerField(help_text="Labels of one trajectory at most; null: all.", null=True),
        ),
        migrations.AddField(
            model_name="acceptance",
            name="parameters",
            field=models.BinaryField(
                default=b"", help_text="annotator.fusion.fit.Fusion.to_bytes, learnt without the sample that tested it."
            ),
        ),
        migrations.AddField(
            model_name="acceptance",
            name="versions",
            field=models.ManyToManyField(
                help_text="The models that it hears.", related_name="+", to="annotator.modelversion"
            ),
        ),
        migrations.AlterField(
            model_name="acceptance",
            name="audit_share",
            field=models.FloatField(help_text="The share of trajectories that people judge blind instead."),
        ),
        migrations.AlterField(
            model_name="acceptance",
            name="delta",
            field=models.FloatField(help_text="The probability with which more may be wrong all the same."),
        ),
        migrations.AlterField(
            model_name="acceptance",
            name="epsilon",
            field=models.FloatField(help_text="The share of accepted labels that may be wrong."),
        ),
        migrations.AlterField(
            model_name="acceptance",
            name="report",
            field=models.JSONField(default=dict, help_text="The sample, the rules tried, the evidence for each."),
        ),
        migrations.AlterField(
            model_name="acceptance",
            name="status",
            field=models.CharField(
                choices=[
                    ("working", "being tested"),
                    ("refused", "no rule keeps the promise"),
                    ("active", "in force"),
                    ("stopped", "stopped"),
                    ("broken", "stopped by its audit"),
                ],
                default="working",
                max_length=8,
            ),
        ),
        migrations.AlterField(
            model_name="acceptance",
            name="threshold",
            field=models.FloatField(help_text="The probability from which a value is accepted.", null=True),
        ),
        migrations.AlterField(
            model_name="job",
            name="kind",
            field=models.CharField(
                choices=[
                    ("import_check", "check of a file"),
                    ("import", "import"),
                    ("publish", "release"),
                    ("prelabel", "pre-labelling"),
                    ("import_predictions", "import of judgements"),
                    ("train_scorer", "training of a step scorer"),
                    ("fuse", "fusion of all raters"),
                    ("select", "selection round"),
                    ("learn", "training in the loop"),
                    ("accept", "acceptance of models' labels"),
                    ("withdraw", "withdrawal of accepted labels"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="acceptance",
            constraint=models.UniqueConstraint(fields=("project", "number"), name="acceptance_number_once"),
        ),
        migrations.AddConstraint(
            model_name="acceptance",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "working")), fields=("project",), name="acceptance_one_at_a_time"
            ),
        ),
        migrations.AddConstraint(
            model_name="acceptance",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "active"), _negated=True), ("threshold__isnull", False), _connector="OR"
                ),
                name="acceptance_active_has_a_rule",
            ),
        ),
        migrations.AddField(
            model_name="acceptanceaudit",
            name="acceptance",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="audits", to="annotator.acceptance"
            ),
        ),
        migrations.AddField(
            model_name="acceptanceaudit",
            name="trajectory",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="audits", to="annotator.trajectory"
            ),
        ),
        migrations.AddConstraint(
            model_name="acceptanceaudit",
            constraint=models.UniqueConstraint(fields=("acceptance", "trajectory"), name="acceptance_audit_once"),
        ),
    ]
