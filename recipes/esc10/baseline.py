"""What ten lines give today: librosa's statistics of a clip and scikit-learn's RBF SVC, on the five folds of ESC-10.

python recipes/esc10/baseline.py CORPUS
"""

import csv
import sys
from pathlib import Path

import librosa
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

corpus = Path(sys.argv[1])
clips = [row for row in csv.DictReader((corpus / "meta/esc50.csv").open()) if row["esc10"] == "True"]


def statistics(name: str) -> np.ndarray:
    """Mean, deviation and maximum over time of log-mel bands, MFCC and their differences."""
    samples, rate = librosa.load(corpus / "audio" / name, sr=None)
    mel = librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=rate, n_mels=64))
    mfcc = librosa.feature.mfcc(S=mel, n_mfcc=20)
    frames = np.concatenate([mel, mfcc, np.diff(mel, append=mel[:, -1:]), np.diff(mfcc, append=mfcc[:, -1:])])
    return np.concatenate([frames.mean(1), frames.std(1), frames.max(1)])


features = np.array([statistics(clip["filename"]) for clip in clips])
targets = np.array([clip["category"] for clip in clips])
folds = np.array([int(clip["fold"]) for clip in clips])
accuracies = []
for fold in range(1, 6):
    model = make_pipeline(StandardScaler(), SVC(C=5)).fit(features[folds != fold], targets[folds != fold])
    accuracies.append(100 * model.score(features[folds == fold], targets[folds == fold]))
print(f"{np.mean(accuracies):.2f} %", [round(accuracy, 2) for accuracy in accuracies])
