from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("annotator", "0015_prediction_by_time"),
    ]

    operations = [
        migrations.AlterField(
            model_name="job",
            name="queue",
            field=models.CharField(
                choices=[("default", "Default"), ("judges", "Judges"), ("gpu", "Gpu")], default="default", max_length=10
            ),
        ),
    ]
